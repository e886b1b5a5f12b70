//! Features: expressions over aggregates over windows.

use datafusion::sql::sqlparser::ast::{
    DuplicateTreatment, Expr, Function as Call, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments,
    UnaryOperator, Value,
};

use super::expr::{Checker, Clause, Node, arguments, node};
use super::frame::Frame;
use super::functions::{Aggregate, Function, aggregate_names, function};
use super::names::{list, normalise, quoted};
use super::window::{Named, Rules};

/// What checking a feature found out about it.
#[derive(Debug, Default)]
pub(super) struct Feature {
    /// How many calls over windows it has.
    pub(super) windows: usize,
}

/// Checks the features of one view.
pub(super) struct Features<'a, 'b> {
    pub(super) checker: &'a mut Checker<'b>,
    pub(super) named: &'a Named,
    pub(super) rules: &'a Rules<'a>,
}

impl Features<'_, '_> {
    /// Checks the expression of a feature.
    pub(super) fn feature(&mut self, expr: &Expr) -> Feature {
        let mut feature = Feature::default();
        self.walk(expr, &mut feature);
        feature
    }

    fn walk(&mut self, expr: &Expr, feature: &mut Feature) {
        match node(expr) {
            Node::Column(qualifier, column) => {
                let resolved = self.checker.scope.resolve(qualifier, column, &self.checker.statement.origin);
                let name = normalise(column);
                let diagnostic = match resolved {
                    Err(diagnostic) => *diagnostic,
                    Ok(_) => (self.checker.statement.origin.of_ident(column))
                        .error(format!("column `{name}` stands outside of an aggregate"))
                        .note("a feature is a value at a moment, and between two events no row says what the column is")
                        .help(format!("for that of the newest event, write last_value({}) OVER w", quoted(&name))),
                };
                // Enough is said of this feature; that it has no window is no news.
                feature.windows += 1;
                self.checker.found.push(diagnostic);
            }
            Node::Call(call) => self.call(call, feature),
            Node::Parts(parts) => parts.into_iter().for_each(|part| self.walk(part, feature)),
            Node::Refused { what, help } => {
                feature.windows += 1;
                self.checker.refuse(expr, &what, help);
            }
        }
    }

    fn call(&mut self, call: &Call, feature: &mut Feature) {
        let span = self.checker.call_span(call);
        let Some(name) = self.checker.function_name(call) else {
            feature.windows += 1;
            return;
        };
        let diagnostic = match function(&name) {
            Function::Scalar if call.over.is_none() && call.filter.is_none() => {
                return match arguments(call) {
                    Ok(arguments) => arguments.into_iter().for_each(|argument| self.walk(argument, feature)),
                    Err(_) => self.checker.scalar(&Expr::Function(call.clone()), Clause::Output),
                };
            }
            Function::Scalar => {
                let diagnostic = self.checker.at(span).error(format!("`{name}` is no aggregate"));
                diagnostic.note(format!("aggregates: {}", list(aggregate_names()))).help("put OVER and FILTER after the aggregate itself")
            }
            Function::Aggregate(_) if call.over.is_none() => {
                let diagnostic = self.checker.at(span).error(format!("`{name}` has no window"));
                diagnostic
                    .note("an aggregate without OVER is of a GROUP BY, and a feature view has none")
                    .help(format!("write {name}(…) OVER w, and define the window: WINDOW w AS ({})", self.example_window()))
            }
            Function::Aggregate(aggregate) => {
                feature.windows += 1;
                return self.aggregate(call, aggregate);
            }
            Function::Refused(refusal) => self.checker.refused_function(&name, refusal, span),
            Function::Unknown => self.checker.unknown_function(call, &name),
        };
        feature.windows += 1;
        self.checker.found.push(diagnostic);
    }

    fn example_window(&self) -> String {
        let keys: Vec<_> = self.rules.keys.iter().map(|(_, expr)| expr.to_string()).collect();
        let partition = if keys.is_empty() { String::new() } else { format!("PARTITION BY {} ", keys.join(", ")) };
        format!("{partition}ORDER BY {} RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW", quoted(self.rules.event_time))
    }

    fn aggregate(&mut self, call: &Call, aggregate: Aggregate) {
        let distinct = self.call_list(call, aggregate);
        if let Some(filter) = &call.filter {
            self.filter(call, filter, aggregate);
        }
        if !call.within_group.is_empty() {
            let span = self.checker.call_span(call);
            let diagnostic = self.checker.at(span).error("WITHIN GROUP does not go with OVER");
            self.checker.found.push(diagnostic.help("write approx_percentile_cont(x, 0.9) OVER w"));
        }
        if call.null_treatment.is_some() {
            self.null_treatment(call, aggregate);
        }
        let name = self.checker.statement.origin.of(&call.name).span;
        let tokens = self.checker.statement.call(name).over;
        if let (Some(over), Some(tokens)) = (&call.over, tokens)
            && let Some(frame) = self.checker.over(over, tokens, self.named, self.rules)
        {
            self.limit(call, aggregate, distinct, frame);
        }
    }

    /// Checks what stands between the parentheses; whether it begins with DISTINCT.
    fn call_list(&mut self, call: &Call, aggregate: Aggregate) -> bool {
        let FunctionArguments::List(arguments) = &call.args else {
            self.wrong_arguments(call, aggregate);
            return false;
        };
        arguments.clauses.iter().for_each(|clause| self.clause(call, clause, aggregate));
        let star = matches!(arguments.args.as_slice(), [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)]);
        if !(star && aggregate.name == "count" && arguments.duplicate_treatment.is_none()) {
            self.arguments(call, aggregate);
        }
        let distinct = arguments.duplicate_treatment == Some(DuplicateTreatment::Distinct);
        if distinct && aggregate.name != "count" {
            self.distinct(call, aggregate);
        }
        distinct && aggregate.name == "count"
    }

    fn arguments(&mut self, call: &Call, aggregate: Aggregate) {
        match arguments(call) {
            Ok(arguments) if arguments.len() == aggregate.arguments => {
                for argument in &arguments {
                    self.argument(argument);
                }
                if let [_, constant] = arguments[..] {
                    self.constant(constant, aggregate);
                }
            }
            _ => self.wrong_arguments(call, aggregate),
        }
    }

    /// Checks an argument, in which another call over a window deserves a word of its own.
    fn argument(&mut self, argument: &Expr) {
        match node(argument) {
            Node::Call(inner) if inner.over.is_some() => {
                let span = self.checker.call_span(inner);
                let diagnostic = self.checker.at(span).error("a window over another window");
                self.checker.found.push(
                    diagnostic
                        .note("the inner value changes as time goes by, so that no state of the outer one stays true")
                        .help("give both as features, and combine them in an expression or in a service"),
                );
            }
            Node::Parts(parts) => parts.into_iter().for_each(|part| self.argument(part)),
            _ => self.checker.scalar(argument, Clause::Argument),
        }
    }

    fn wrong_arguments(&mut self, call: &Call, aggregate: Aggregate) {
        let span = self.checker.call_span(call);
        let wanted = match aggregate.name {
            "approx_percentile_cont" => "a value and a share from 0 to 1: approx_percentile_cont(x, 0.9)".to_owned(),
            "nth_value" => "a value and a number from 1: nth_value(x, 2)".to_owned(),
            "count" => "one value or `*`".to_owned(),
            name => format!("one value: {name}(x)"),
        };
        self.checker.found.push(self.checker.at(span).error(format!("`{}` takes {wanted}", aggregate.name)));
    }

    /// Checks the second argument, which is the same for all events.
    fn constant(&mut self, constant: &Expr, aggregate: Aggregate) {
        let number = number_of(constant);
        let (good, help) = match aggregate.name {
            "nth_value" => (
                number.is_some_and(|n| n.fract() == 0.0 && n != 0.0),
                "write a whole number: 1 for the first event, 2 for the second, -1 for the last",
            ),
            _ => (number.is_some_and(|share| (0.0..=1.0).contains(&share)), "write a number from 0 to 1, such as 0.9"),
        };
        if !good {
            let span = self.checker.statement.place(constant);
            let diagnostic = self.checker.at(span).error(format!("the second argument of `{}` is a constant of another kind", aggregate.name));
            self.checker.found.push(diagnostic.help(help));
        }
    }

    fn distinct(&mut self, call: &Call, aggregate: Aggregate) {
        let span = self.checker.call_span(call);
        let diagnostic = self.checker.at(span).error(format!("`{}` of distinct values is refused", aggregate.name));
        self.checker.found.push(match aggregate.name {
            "min" | "max" | "bool_and" | "bool_or" | "approx_distinct" => diagnostic.note("DISTINCT changes nothing here").help("leave it out"),
            _ => diagnostic.note("distinct values are kept for count alone").help("write count(DISTINCT x), or aggregate all values"),
        });
    }

    fn clause(&mut self, call: &Call, clause: &FunctionArgumentClause, aggregate: Aggregate) {
        let span = self.checker.call_span(call);
        let at = self.checker.at(span);
        self.checker.found.push(match clause {
            FunctionArgumentClause::IgnoreOrRespectNulls(_) => return self.null_treatment(call, aggregate),
            FunctionArgumentClause::OrderBy(_) => at
                .error("an aggregate over a window has no order of its own")
                .note("events are in the order of event time, and of their primary key within a moment")
                .help("leave out ORDER BY between the parentheses"),
            FunctionArgumentClause::Limit(_) => at
                .error("LIMIT has no place in an aggregate")
                .help("for the last 10 elements, write the frame ROWS BETWEEN 9 PRECEDING AND CURRENT ROW"),
            _ => at.error(format!("`{}` takes values, and nothing after them", aggregate.name)),
        });
    }

    fn null_treatment(&mut self, call: &Call, aggregate: Aggregate) {
        if aggregate.positional {
            return;
        }
        let span = self.checker.call_span(call);
        let diagnostic = self.checker.at(span).error(format!("IGNORE NULLS and RESPECT NULLS do not go with `{}`", aggregate.name));
        self.checker.found.push(diagnostic.note("they go with first_value, last_value and nth_value").help("filter: FILTER (WHERE x IS NOT NULL)"));
    }

    /// DataFusion takes FILTER for aggregates alone, and the positional ones are window functions to it.
    fn filter(&mut self, call: &Call, filter: &Expr, aggregate: Aggregate) {
        if aggregate.positional {
            let span = self.checker.call_span(call);
            let diagnostic = self.checker.at(span).error(format!("`{}` takes no FILTER", aggregate.name));
            let argument = first_argument(call).map_or_else(|| "x".to_owned(), ToString::to_string);
            self.checker.found.push(
                diagnostic
                    .note("to DataFusion, FILTER goes with aggregates, and this is a function of rows")
                    .help(format!("write {}(CASE WHEN {filter} THEN {argument} END) IGNORE NULLS OVER w", aggregate.name)),
            );
        }
        self.checker.scalar(filter, Clause::Filter);
    }

    /// A state that can grow without bound needs a declared one.
    fn limit(&mut self, call: &Call, aggregate: Aggregate, distinct: bool, frame: Frame) {
        if frame.bounded || self.rules.options.limit.is_some() || !(distinct || aggregate.name == "array_agg") {
            return;
        }
        let span = self.checker.call_span(call);
        let what = if distinct { "count(DISTINCT …)" } else { "array_agg" };
        let diagnostic = self.checker.at(span).error(format!("`{what}` over this frame can grow without bound"));
        let instead = if distinct { "approx_distinct(x)" } else { "a ROWS frame" };
        self.checker.found.push(
            diagnostic
                .note("beyond a declared limit its value is ERROR, in training and in serving alike")
                .help(format!("declare WITH (limit = 1000) on the view, or write {instead}")),
        );
    }
}

fn first_argument(call: &Call) -> Option<&FunctionArg> {
    match &call.args {
        FunctionArguments::List(FunctionArgumentList { args, .. }) => args.first(),
        _ => None,
    }
}

fn number_of(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse().ok(),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => number_of(expr).map(|number| -number),
        _ => None,
    }
}
