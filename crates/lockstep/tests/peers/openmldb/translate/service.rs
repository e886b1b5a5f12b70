//! What is selected, and the services and views that give it.

use super::expression::{arguments, function, is_keyword, plain};
use super::*;

/// Items that are read at one moment.
struct Group {
    reading: Reading,
    /// Each item's number and what it is.
    outputs: Vec<(usize, String)>,
    views: Vec<usize>,
}

impl<'a> Work<'a> {
    pub(super) fn services(mut self) -> Result<Plan, Reason> {
        let query = self.query;
        let mut groups: Vec<Group> = Vec::new();
        let mut of_the_row = Vec::new();
        for (number, item) in query.items.iter().enumerate() {
            let mut views = Vec::new();
            let text = self.output(bare(item), &mut views)?;
            let Some(first) = views.first() else {
                of_the_row.push((number, text));
                continue;
            };
            let reading = self.views[*first].reading.clone();
            if views.iter().any(|view| self.views[*view].reading != reading) {
                return reason("values of different moments in one expression");
            }
            match groups.iter_mut().find(|group| group.reading == reading) {
                Some(group) => {
                    group.outputs.push((number, text));
                    group.views.extend(views);
                }
                None => groups.push(Group { reading, outputs: vec![(number, text)], views }),
            }
        }
        let Some(first) = groups.first_mut() else { return reason("nothing of it is looked up") };
        first.outputs.extend(of_the_row);
        let (mut askings, mut items, mut services) = (Vec::new(), Vec::new(), String::new());
        for (number, group) in groups.iter().enumerate() {
            let (asking, service) = self.service(number, group)?;
            services.push_str(&service);
            askings.push(asking);
            items.push(group.outputs.iter().map(|output| output.0).collect());
        }
        // Keys may be features too.
        for view in 0..self.views.len() {
            self.define(view)?;
        }
        self.sql.push_str(&services);
        Ok(Plan { sql: self.sql, files: self.files, askings, items, limit: query.limit })
    }

    /// An expression of the statement, over the request and what is looked up for it.
    fn output(&mut self, tokens: &[Token], views: &mut Vec<usize>) -> Result<String, Reason> {
        let mut text = Vec::new();
        let mut rest = tokens;
        while let [first, after @ ..] = rest {
            rest = after;
            match (first, rest) {
                (Token::Word(table), [dot, Token::Word(column), after @ ..]) if dot.is(".") => {
                    rest = after;
                    text.push(self.looked_up(Some(table), column, views)?);
                }
                (Token::Word(word), [open, ..]) if open.is("(") => text.push(self.called(word, &mut rest, views)?),
                (Token::Word(word), _) if is_keyword(word) => text.push(word.clone()),
                (Token::Word(word), _) => text.push(self.looked_up(None, word, views)?),
                (other, _) => text.push(plain(other)),
            }
        }
        Ok(text.join(" "))
    }

    /// A column of the row, or of a joined table.
    fn looked_up(&mut self, table: Option<&str>, column: &str, views: &mut Vec<usize>) -> Result<String, Reason> {
        let belongs = |side: &Side<'_>| table.map_or_else(|| side.has(column), |table| side.called(table));
        if table.is_none() && self.main.has(column) && self.joins.iter().any(|joined| joined.right.has(column)) {
            return reason("a column of two tables, by its name alone");
        }
        // A table may be joined to itself, under another name.
        let joined = self.joins.iter().position(|joined| match table {
            Some(table) => joined.right.called(table) && !self.main.called(table),
            None => (joined.right.has(column) || joined.others.iter().any(|other| other.0 == column)) && !self.main.has(column),
        });
        let Some(joined) = joined else {
            if !belongs(&self.main) {
                // Unknown, which the compiler is to say.
                return Ok(format!("r.{}", quoted(column)));
            }
            return self.of_request(column);
        };
        let Joined { right, view, descending, others } = &self.joins[joined];
        if let Some((_, of)) = others.iter().find(|other| other.0 == column) {
            let of = of.clone();
            return self.output(&of, views);
        }
        let (right, view) = (right.clone(), *view);
        let function = if *descending { "first_value" } else { "last_value" };
        let value = self.expression(&right.column(column), &Place::Row(&Side { columns: None, ..right }))?;
        views.push(view);
        Ok(self.feature(view, format!("{function}({value}) OVER w")))
    }

    fn of_request(&self, column: &str) -> Result<String, Reason> {
        match self.main.column(column).as_slice() {
            [Token::Word(column)] => Ok(format!("r.{}", quoted(column))),
            computed => {
                let row = self.expression(computed, &Place::Row(&Side { columns: None, ..self.main.clone() }))?;
                // Columns are the only quoted names in it.
                Ok(format!("({})", row.replace(" \"", " r.\"").replace("(\"", "(r.\"")))
            }
        }
    }

    /// A call: of a window, or of a function of the row.
    fn called(&mut self, name: &str, rest: &mut &[Token], views: &mut Vec<usize>) -> Result<String, Reason> {
        let mut ahead = *rest;
        let inside = arguments(&mut ahead)?.to_vec();
        if !ahead.first().is_some_and(|token| token.is("OVER")) {
            return function(name, rest, |inside| self.output(inside, views));
        }
        ahead = &ahead[1..];
        let query = self.query;
        let view = match ahead {
            [open, ..] if open.is("(") => {
                let written = arguments(&mut ahead)?;
                // One that is written in place has its own text for a name.
                let number = self.views.len();
                self.window(&format!("own{number}"), &query::window(written)?)?
            }
            [Token::Word(window), after @ ..] => {
                ahead = after;
                let name = window.to_lowercase();
                let known = query.windows.iter().find(|(known, _)| *known == name);
                // The compiler is to say that one is unknown.
                let Some((name, of)) = known.or(query.windows.first()) else { return reason(format!("no window `{name}`")) };
                let view = self.window(name, of)?;
                if known.is_none() {
                    views.push(view);
                    *rest = ahead;
                    return Ok(self.feature(view, format!("count(*) OVER {window}")));
                }
                view
            }
            _ => return reason("a call over no window"),
        };
        *rest = ahead;
        views.push(view);
        let text = self.aggregate(view, &name.to_lowercase(), &query::split(&inside))?;
        Ok(self.feature(view, text))
    }

    /// A call over the window of a view.
    fn aggregate(&mut self, view: usize, name: &str, arguments: &[Vec<Token>]) -> Result<String, Reason> {
        if arguments.iter().flatten().any(|token| token.is("OVER")) {
            return reason("a window over values of a window");
        }
        let Some(read) = &self.views[view].of else { return reason("a call over no window") };
        let (newest, up_to_now, place) = (read.newest.clone(), read.up_to_now.clone(), read.place);
        if name == "lag" || name == "at" {
            return self.counted_back(view, arguments, &up_to_now, place);
        }
        let call = self.call(view, name, arguments)?;
        let window = self.views[view].windows[0].0.clone();
        let Some((most, frame)) = newest else { return Ok(format!("{call} OVER {window}")) };
        // As many as there are, or the newest of them.
        let cut = self.frame_of(view, &frame);
        Ok(format!("CASE WHEN count(*) OVER {window} > {most} THEN {call} OVER {cut} ELSE {call} OVER {window} END"))
    }

    /// The call without its window.
    fn call(&mut self, view: usize, name: &str, arguments: &[Vec<Token>]) -> Result<String, Reason> {
        let written = {
            let place = Place::View(&self.views[view].branches);
            arguments.iter().map(|argument| self.expression(argument, &place)).collect::<Result<Vec<_>, _>>()?
        };
        let written: Vec<&str> = written.iter().map(String::as_str).collect();
        self.views[view].distinct |= name == "distinct_count";
        Ok(match (name, written.as_slice()) {
            ("sum" | "avg" | "min" | "max" | "count" | "first_value" | "last_value", [value]) => format!("{name}({value})"),
            ("first_value" | "last_value", [value, "true"]) => format!("{name}({value}) IGNORE NULLS"),
            ("first_value" | "last_value", [value, "false"]) => format!("{name}({value})"),
            ("distinct_count", [value]) => format!("count(DISTINCT {value})"),
            ("sum_where" | "avg_where" | "min_where" | "max_where" | "count_where", [value, condition]) => {
                format!("{}({value}) FILTER (WHERE {condition})", name.trim_end_matches("_where"))
            }
            _ => return reason(format!("the aggregate `{name}`")),
        })
    }

    /// `lag`: the value so many rows before the row, if the window reaches that far.
    fn counted_back(&mut self, view: usize, arguments: &[Vec<Token>], up_to_now: &str, place: Option<i64>) -> Result<String, Reason> {
        let ([value, back], Some(place)) = (arguments, place) else { return reason("a row counted back where its place is not known") };
        let [Token::Number(back)] = back.as_slice() else { return reason("a row counted back by an expression") };
        let back = back.parse::<i64>().unwrap_or_default() - place;
        if back < 0 {
            return reason("the row itself, of a window that leaves it out");
        }
        let value = {
            let place = Place::View(&self.views[view].branches);
            self.expression(value, &place)?
        };
        let (there, whole) = (self.frame_of(view, &frame::one_row(back)), self.frame_of(view, up_to_now));
        Ok(format!("CASE WHEN count(*) OVER {whole} > {back} THEN last_value({value}) OVER {there} END"))
    }

    /// Writes a view and its entity.
    fn define(&mut self, number: usize) -> Result<(), Reason> {
        let view = &self.views[number];
        if view.features.is_empty() {
            return Ok(());
        }
        let (name, mut keys) = (&view.name, Vec::new());
        let mut declared: Vec<String> = view.keys.iter().enumerate().map(|(at, (_, of, _))| format!("k{at} {of}")).collect();
        for (at, (key, ..)) in view.keys.iter().enumerate() {
            keys.push(format!("{} AS k{at}", self.in_view(key, &view.branches)?));
        }
        if keys.is_empty() {
            // Without a partition there is no key: the compiler is to say so.
            let (first, of) = &self.main.table.columns[0];
            declared.push(format!("k0 {}", of.sql()));
            keys.push(format!("{} AS k0", quoted(first)));
        }
        let features = view.features.iter().enumerate().map(|(at, text)| format!("{text} AS f{at}"));
        let select: Vec<String> = keys.into_iter().chain(features).collect();
        let from = match view.branches.as_slice() {
            [one] => one.source.clone(),
            branches => {
                format!("({}) AS u", branches.iter().map(|branch| self.branch(branch)).collect::<Result<Vec<_>, _>>()?.join("\n  UNION ALL "))
            }
        };
        let filter = if view.filter.is_empty() { String::new() } else { format!("WHERE {}\n", view.filter) };
        let windows: Vec<String> = view.windows.iter().map(|(name, body)| format!("{name} AS ({body})")).collect();
        let options = if view.distinct { format!(" WITH (limit = {LIMIT})") } else { String::new() };
        let text = format!(
            "CREATE ENTITY {name}e ({});\nCREATE FEATURE VIEW {name} ENTITY {name}e{options} AS\nSELECT {}\nFROM {from}\n{filter}WINDOW {};\n",
            declared.join(", "),
            select.join(",\n  "),
            windows.join(",\n  ")
        );
        self.sql.push_str(&text);
        Ok(())
    }

    /// An input of a view, with the columns of the table that is asked about.
    fn branch(&self, branch: &Branch<'a>) -> Result<String, Reason> {
        let names: Vec<&String> = match &self.main.columns {
            Some(columns) => columns.iter().map(|(name, _)| name).collect(),
            None => self.main.table.columns.iter().map(|(name, _)| name).collect(),
        };
        let mut columns = Vec::new();
        for name in names {
            columns.push(format!("{} AS {}", self.column(name, &Place::Row(&branch.side))?, quoted(name)));
        }
        Ok(format!("SELECT _time, {} FROM {}", columns.join(", "), branch.source))
    }

    /// Writes the service of a group, and asks it for each row.
    fn service(&mut self, number: usize, group: &Group) -> Result<(Asking, String), Reason> {
        let name = format!("{}r{number}", self.prefix);
        let mut views = group.views.clone();
        let mut joins = Vec::new();
        let mut at = 0;
        while at < views.len() {
            let view = views[at];
            at += 1;
            if views[..at - 1].contains(&view) {
                continue;
            }
            let keys = self.views[view].keys.clone();
            let mut conditions = Vec::new();
            for (key, (_, _, of)) in keys.iter().enumerate() {
                let of = self.output(of, &mut views)?;
                conditions.push(format!("v{view}.k{key} = {of}"));
            }
            if views.iter().any(|view| self.views[*view].reading != group.reading) {
                return reason("a key of another moment");
            }
            joins.push((view, format!("LEFT JOIN {} v{view} ON {}", self.views[view].name, conditions.join(" AND "))));
        }
        joins.sort_by_key(|join| join.0);
        let table = self.main.table;
        let mut columns: Vec<String> = table.columns.iter().map(|(name, of)| format!("{} {}", quoted(name), of.sql())).collect();
        let mut from = String::new();
        if group.reading.next {
            columns.insert(0, "_row BIGINT".to_owned());
            let source = self.sources.iter().find(|source| source.of.none && source.of.time == group.reading.time);
            from = format!(" AS {}", source.map_or("", |source| source.name.as_str()));
        }
        let outputs: Vec<String> = group.outputs.iter().map(|(item, text)| format!("{text} AS o{item}")).collect();
        let joins: Vec<String> = joins.into_iter().map(|join| join.1).collect();
        let text = format!(
            "CREATE FEATURE SERVICE {name} AS\nSELECT {}\nFROM REQUEST ({}){from} r\n{};\n",
            outputs.join(",\n  "),
            columns.join(", "),
            joins.join("\n")
        );
        let (mut rows, mut moments) = (Vec::new(), Vec::new());
        for (at, row) in table.rows.iter().enumerate() {
            let mut asked = record(table, row);
            if group.reading.next {
                asked.insert("_row".into(), json!(at));
            }
            rows.push(asked);
            moments.push(self.moment(&group.reading, at)?);
        }
        Ok((Asking { service: name, rows, moments }, text))
    }

    fn moment(&self, reading: &Reading, row: usize) -> Result<i64, Reason> {
        let Some(time) = reading.time.as_deref() else { return Ok(THE_END) };
        let Some(begin) = event_time(self.main.table, Some(time), row) else { return reason("a row without a time is asked about") };
        Ok(begin + reading.later + if reading.own { OWN_ROWS + self.rank(self.main.number, row) } else { 0 })
    }
}
