//! From a call as the planner left it to an aggregate: which functions exist, which types they take, which constants.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;

use super::column::{Shape, ValueType};
use super::count::Booleans;
use super::distinct::CountDistinct;
use super::extreme::{BytesExtreme, WideExtreme, WordExtreme};
use super::float::{FloatSum, Variance};
use super::integers::IntegerSum;
use super::ordered::{End, List, Ranked};
use super::percentile::ApproxPercentile;
use super::{Aggregate, count, hyperloglog};

/// An aggregate function call.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The function, by its name or an alias, in lower case.
    pub name: &'a str,
    /// Types of the arguments that are columns, as [`Function::coerce`] wants them. `count(*)` has none.
    pub arg_types: &'a [DataType],
    /// The arguments after them, which are constants.
    pub literals: &'a [ScalarValue],
    /// `DISTINCT`.
    pub distinct: bool,
    /// `IGNORE NULLS`.
    pub ignore_nulls: bool,
    /// The declared bound of states that grow with their events.
    pub limit: Option<usize>,
}

/// Largest n of `nth_value`, whose state holds that many values.
pub const RANK_MAX: u64 = 10_000;

/// Binds a call to the types and constants of its arguments. Errors say what is wrong and what to write.
pub fn bind(call: &Call<'_>) -> Result<Arc<dyn Aggregate>, String> {
    let function = Function::parse(call.name)?;
    function.check_shape(call)?;
    let mut types = call.arg_types.to_vec();
    types.extend(call.literals.iter().map(ScalarValue::data_type));
    let coerced = function.coerce(&types)?;
    if let Some((want, have)) = coerced.iter().zip(call.arg_types).find(|(want, have)| want != have) {
        return Err(format!("{} does not take {have} as it is · cast the argument to {want}", function.name()));
    }
    function.bind(call)
}

/// The aggregate functions that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Function {
    /// `count`
    Count,
    /// `sum`
    Sum,
    /// `avg`
    Avg,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `var_samp`
    VarSamp,
    /// `var_pop`
    VarPop,
    /// `stddev_samp`
    StddevSamp,
    /// `stddev_pop`
    StddevPop,
    /// `bool_and`
    BoolAnd,
    /// `bool_or`
    BoolOr,
    /// `first_value`
    FirstValue,
    /// `last_value`
    LastValue,
    /// `nth_value`
    NthValue,
    /// `approx_distinct`
    ApproxDistinct,
    /// `approx_percentile_cont`
    ApproxPercentile,
    /// `array_agg`
    ArrayAgg,
}

/// All functions, with their names: the canonical one first. The names `…_in_order` are those of the UDAFs, see [`super::udaf`].
const FUNCTIONS: [(Function, &[&str]); 17] = [
    (Function::Count, &["count"]),
    (Function::Sum, &["sum"]),
    (Function::Avg, &["avg", "mean"]),
    (Function::Min, &["min"]),
    (Function::Max, &["max"]),
    (Function::VarSamp, &["var_samp", "var", "var_sample"]),
    (Function::VarPop, &["var_pop", "var_population"]),
    (Function::StddevSamp, &["stddev_samp", "stddev"]),
    (Function::StddevPop, &["stddev_pop"]),
    (Function::BoolAnd, &["bool_and"]),
    (Function::BoolOr, &["bool_or"]),
    (Function::FirstValue, &["first_value", "first_value_in_order"]),
    (Function::LastValue, &["last_value", "last_value_in_order"]),
    (Function::NthValue, &["nth_value", "nth_value_in_order"]),
    (Function::ApproxDistinct, &["approx_distinct"]),
    (Function::ApproxPercentile, &["approx_percentile_cont"]),
    (Function::ArrayAgg, &["array_agg"]),
];

impl Function {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Function> {
        FUNCTIONS.iter().map(|&(function, _)| function)
    }

    /// The function of a name or alias.
    pub fn parse(name: &str) -> Result<Function, String> {
        let known = FUNCTIONS.iter().flat_map(|(function, names)| names.iter().map(move |name| (*function, *name)));
        if let Some((function, _)) = known.clone().find(|&(_, known)| known == name) {
            return Ok(function);
        }
        let nearest = known.clone().map(|(_, known)| (strsim::levenshtein(known, name), known)).min();
        let hint = nearest.filter(|&(distance, _)| distance <= 3).map(|(_, known)| format!(" · did you mean `{known}`?"));
        let names: Vec<&str> = FUNCTIONS.iter().map(|(_, names)| names[0]).collect();
        Err(format!("no aggregate function `{name}` · known: {}{}", names.join(", "), hint.unwrap_or_default()))
    }

    /// The canonical name.
    pub fn name(self) -> &'static str {
        self.names()[0]
    }

    /// The names it is called by, the canonical one first.
    pub fn names(self) -> &'static [&'static str] {
        FUNCTIONS.iter().find(|&&(function, _)| function == self).map_or(&["?"], |&(_, names)| names)
    }

    /// How many arguments of a call with `arguments` arguments are columns; the others, after them, are constants.
    pub fn columns(self, arguments: usize) -> usize {
        match self {
            Function::Count => arguments,
            _ => arguments.min(1),
        }
    }

    /// Whether the value depends on the order of the events.
    pub fn is_ordered(self) -> bool {
        matches!(self, Function::FirstValue | Function::LastValue | Function::NthValue | Function::ArrayAgg)
    }

    /// The value over no rows where that is not NULL: 0.
    pub fn is_zero_when_empty(self) -> bool {
        matches!(self, Function::Count | Function::ApproxDistinct)
    }

    /// The types to which the arguments, columns and constants, are cast.
    pub fn coerce(self, arguments: &[DataType]) -> Result<Vec<DataType>, String> {
        if self == Function::Count {
            return Ok(arguments.to_vec());
        }
        let want = if self.takes_constant() { 2 } else { 1 };
        if arguments.len() != want {
            let example = self.example();
            return Err(format!("{} takes {want} argument{}, not {} · write {example}", self.name(), &"s"[..want - 1], arguments.len()));
        }
        let mut types = arguments.to_vec();
        types[0] = self.coerce_column(&arguments[0])?;
        Ok(types)
    }

    /// The type of the value, given the types of the columns.
    pub fn return_type(self, columns: &[DataType]) -> Result<DataType, String> {
        use Function::*;
        let argument = columns.first().unwrap_or(&DataType::Null);
        Ok(match self {
            Count => DataType::Int64,
            Sum | Avg => {
                let argument = self.coerce_column(argument)?;
                IntegerSum::result(self == Avg, &argument).unwrap_or(DataType::Float64)
            }
            VarSamp | VarPop | StddevSamp | StddevPop => DataType::Float64,
            BoolAnd | BoolOr => DataType::Boolean,
            ApproxDistinct => DataType::UInt64,
            Min | Max | FirstValue | LastValue | NthValue | ApproxPercentile => self.coerce_column(argument)?,
            ArrayAgg => List::result(&self.coerce_column(argument)?),
        })
    }

    fn takes_constant(self) -> bool {
        matches!(self, Function::NthValue | Function::ApproxPercentile)
    }

    fn example(self) -> String {
        match self {
            Function::NthValue => "nth_value(x, 2)".into(),
            Function::ApproxPercentile => "approx_percentile_cont(x, 0.95)".into(),
            _ => format!("{}(x)", self.name()),
        }
    }

    fn coerce_column(self, argument: &DataType) -> Result<DataType, String> {
        use Function::*;
        if let DataType::Dictionary(_, value) = argument {
            return self.coerce_column(value);
        }
        let (coerced, takes) = match self {
            Count => (Some(argument.clone()), "anything"),
            Sum | Avg => (summable(argument), "integers, floats, decimals of up to 38 digits and durations"),
            VarSamp | VarPop | StddevSamp | StddevPop => (numeric(argument).then_some(DataType::Float64), "numbers"),
            ApproxPercentile => (numeric(argument).then(|| quantile_type(argument)), "numbers"),
            BoolAnd | BoolOr => (matches!(argument, DataType::Boolean | DataType::Null).then_some(DataType::Boolean), "booleans"),
            FirstValue | LastValue | NthValue => {
                let list = ValueType::or_list(argument).filter(|value| value.shape == Shape::List).map(|list| list.data_type);
                (list.or_else(|| plain(argument)), PLAIN_OR_LISTS)
            }
            Min | Max | ApproxDistinct | ArrayAgg => (plain(argument), PLAIN),
        };
        coerced.ok_or_else(|| format!("{} does not take {argument} · it takes {takes} · cast the argument", self.name()))
    }

    /// Refuses clauses that mean nothing to the function.
    fn check_shape(self, call: &Call<'_>) -> Result<(), String> {
        use Function::*;
        if call.distinct && !matches!(self, Count | Min | Max | BoolAnd | BoolOr | ApproxDistinct) {
            let name = self.name();
            return Err(format!(
                "{name}(distinct …) is not supported · count, min, max, bool_and and bool_or take distinct · write {name}(…) without it"
            ));
        }
        if call.distinct && self == Count && call.arg_types.len() != 1 {
            return Err(format!("count(distinct …) takes 1 argument, not {} · write count(distinct x)", call.arg_types.len()));
        }
        Ok(())
    }

    fn bind(self, call: &Call<'_>) -> Result<Arc<dyn Aggregate>, String> {
        use Function::*;
        Ok(match self {
            Count if call.distinct => Arc::new(CountDistinct { argument: self.value_type(call)?, limit: self.limit(call)? }),
            Count => Arc::new(count::Count),
            Sum | Avg => sum(self == Avg, &call.arg_types[0]),
            Min | Max => extreme(self == Max, self.value_type(call)?),
            VarSamp | VarPop => Arc::new(Variance { population: self == VarPop, deviation: false }),
            StddevSamp | StddevPop => Arc::new(Variance { population: self == StddevPop, deviation: true }),
            BoolAnd | BoolOr => Arc::new(Booleans { all: self == BoolAnd }),
            FirstValue | LastValue | NthValue => Arc::new(self.ranked(call)?),
            ApproxDistinct => Arc::new(hyperloglog::ApproxDistinct { argument: self.value_type(call)? }),
            ApproxPercentile => Arc::new(self.percentile(call)?),
            ArrayAgg => Arc::new(List { argument: self.value_type(call)?, ignore_nulls: call.ignore_nulls, limit: self.limit(call)? }),
        })
    }

    fn value_type(self, call: &Call<'_>) -> Result<ValueType, String> {
        let argument = &call.arg_types[0];
        ValueType::new(argument).ok_or_else(|| format!("{} does not take {argument} · cast the argument", self.name()))
    }

    fn limit(self, call: &Call<'_>) -> Result<usize, String> {
        let shown = if self == Function::Count { "count(distinct …)" } else { "array_agg" };
        call.limit
            .ok_or_else(|| format!("{shown} has no limit · its state grows with its events · declare a limit, beyond which the value is an error"))
    }

    fn ranked(self, call: &Call<'_>) -> Result<Ranked, String> {
        let n = match self {
            Function::FirstValue => 1,
            Function::LastValue => -1,
            _ => integer(call.literals).filter(|n| (1..=RANK_MAX).contains(&n.unsigned_abs())).ok_or_else(|| {
                format!(
                    "the second argument of nth_value is not a constant from 1 to {RANK_MAX} (or below zero, from the end) · write nth_value(x, 2)"
                )
            })?,
        };
        let end = if n > 0 { End::First } else { End::Last };
        let argument = match ValueType::or_list(&call.arg_types[0]) {
            Some(argument) => argument,
            None => self.value_type(call)?,
        };
        Ok(Ranked { argument, end, rank: n.unsigned_abs() as usize, ignore_nulls: call.ignore_nulls })
    }

    fn percentile(self, call: &Call<'_>) -> Result<ApproxPercentile, String> {
        let percentile = call.literals.first().and_then(|literal| match literal.cast_to(&DataType::Float64) {
            Ok(ScalarValue::Float64(percentile)) => percentile,
            _ => None,
        });
        let percentile = percentile
            .filter(|p| (0.0..=1.0).contains(p))
            .ok_or("the second argument of approx_percentile_cont is not a constant from 0 to 1 · write approx_percentile_cont(x, 0.95)")?;
        // −0.0 is 0.0 here too.
        Ok(ApproxPercentile { percentile: percentile + 0.0, single: call.arg_types[0] == DataType::Float32 })
    }
}

fn sum(average: bool, argument: &DataType) -> Arc<dyn Aggregate> {
    match argument {
        DataType::Float64 => Arc::new(FloatSum { average }),
        _ => Arc::new(IntegerSum { average, argument: argument.clone() }),
    }
}

fn extreme(max: bool, argument: ValueType) -> Arc<dyn Aggregate> {
    match argument.shape {
        Shape::Word(_) => Arc::new(WordExtreme { max, argument }),
        Shape::Wide => Arc::new(WideExtreme { max, argument }),
        // No list comes here: lists have no order.
        Shape::Bytes { .. } | Shape::List => Arc::new(BytesExtreme { max, argument }),
    }
}

/// The constant as an integer.
fn integer(literals: &[ScalarValue]) -> Option<i64> {
    match literals.first()?.cast_to(&DataType::Int64) {
        Ok(ScalarValue::Int64(n)) if literals[0].data_type().is_integer() => n,
        _ => None,
    }
}

fn numeric(argument: &DataType) -> bool {
    argument.is_numeric() || *argument == DataType::Null
}

/// What sums are made of: integers stay integers (their means too, so that large ones lose nothing on the way), floats are `Float64`.
fn summable(argument: &DataType) -> Option<DataType> {
    use DataType::*;
    Some(match argument {
        Int8 | Int16 | Int32 | Int64 => Int64,
        UInt8 | UInt16 | UInt32 | UInt64 => UInt64,
        Float16 | Float32 | Float64 | Null => Float64,
        &Decimal32(precision, scale) | &Decimal64(precision, scale) | &Decimal128(precision, scale) => Decimal128(precision, scale),
        Duration(unit) => Duration(*unit),
        _ => return None,
    })
}

fn quantile_type(argument: &DataType) -> DataType {
    if *argument == DataType::Float32 { DataType::Float32 } else { DataType::Float64 }
}

/// What those types are, for messages.
const PLAIN: &str = "booleans, numbers, decimals of up to 38 digits, strings, binaries, dates, times, timestamps and durations";
const PLAIN_OR_LISTS: &str =
    "booleans, numbers, decimals of up to 38 digits, strings, binaries, dates, times, timestamps, durations, and lists of them";

/// Types with canonical values, as they are; narrow decimals and floats as the next wider one that has them.
fn plain(argument: &DataType) -> Option<DataType> {
    let argument = match argument {
        DataType::Float16 => DataType::Float32,
        &DataType::Decimal32(precision, scale) | &DataType::Decimal64(precision, scale) => DataType::Decimal128(precision, scale),
        other => other.clone(),
    };
    ValueType::new(&argument).map(|value| value.data_type)
}
