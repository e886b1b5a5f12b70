//! The cases as they are written: tables, a statement, and the rows that are expected of it.

use std::collections::HashMap;

use serde_json::Value;
use serde_yaml_ng::Value as Yaml;

/// One statement over some tables, and what is to come of it.
#[derive(Debug)]
pub struct Case {
    /// Its number; the second of one number has ` (2)` behind it, and one of several variants `/ROWS`.
    pub id: String,
    pub sql: String,
    pub tables: Vec<Table>,
    pub expected: Expected,
}

/// A table and its rows.
#[derive(Debug)]
pub struct Table {
    pub name: String,
    pub columns: Vec<(String, Type)>,
    pub rows: Vec<Vec<Value>>,
    /// By which columns the peer finds its rows, and the one that orders them.
    pub indexes: Vec<(Vec<String>, Option<String>)>,
    /// Whether its rows lie in a file that is not there.
    pub elsewhere: bool,
}

#[derive(Debug)]
pub enum Expected {
    /// That the statement is refused.
    Refusal,
    /// That it is not, whatever comes of it.
    Acceptance,
    Rows {
        types: Vec<Type>,
        rows: Vec<Vec<Value>>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Bool,
    Int16,
    Int32,
    Int64,
    Float,
    Double,
    Text,
    Timestamp,
    Date,
}

impl Type {
    fn of(name: &str) -> Type {
        match name.to_lowercase().as_str() {
            "bool" => Type::Bool,
            "smallint" | "int16" | "i16" => Type::Int16,
            "int" | "int32" | "i32" => Type::Int32,
            "bigint" | "int64" | "i64" | "long" => Type::Int64,
            "float" => Type::Float,
            "double" => Type::Double,
            "string" | "varchar" => Type::Text,
            "timestamp" => Type::Timestamp,
            "date" => Type::Date,
            other => panic!("a column of type {other}"),
        }
    }

    pub fn sql(self) -> &'static str {
        match self {
            Type::Bool => "BOOLEAN",
            Type::Int16 => "SMALLINT",
            Type::Int32 => "INT",
            Type::Int64 => "BIGINT",
            Type::Float => "REAL",
            Type::Double => "DOUBLE",
            Type::Text => "VARCHAR",
            Type::Timestamp => "TIMESTAMP",
            Type::Date => "DATE",
        }
    }

    /// A value as a line of text has it.
    fn read(self, text: &str) -> Value {
        match self {
            _ if text.eq_ignore_ascii_case("null") => Value::Null,
            Type::Int16 | Type::Int32 | Type::Int64 | Type::Timestamp => text.parse::<i64>().unwrap_or_else(|_| panic!("a number: {text}")).into(),
            Type::Float | Type::Double => text.parse::<f64>().unwrap_or_else(|_| panic!("a number: {text}")).into(),
            Type::Bool => (text == "true").into(),
            Type::Text | Type::Date => text.into(),
        }
    }
}

/// The cases of a file, each variant of one by itself.
pub fn read(yaml: &str) -> Vec<Case> {
    let file = json(serde_yaml_ng::from_str(yaml).unwrap());
    let mut seen: HashMap<String, u32> = HashMap::new();
    let mut cases = Vec::new();
    for case in file["cases"].as_array().unwrap() {
        let mut id = text(&case["id"]);
        let times = seen.entry(id.clone()).or_default();
        *times += 1;
        if *times > 1 {
            id = format!("{id} ({times})");
        }
        let Some(variants) = case["dataProvider"].as_array() else {
            cases.push(variant(case, id, |sql| sql, None));
            continue;
        };
        // All that there are offer one choice, of the unit of frames.
        let [choices] = variants.as_slice() else { panic!("{id} has two choices") };
        for (number, choice) in choices.as_array().unwrap().iter().enumerate() {
            let choice = text(choice);
            cases.push(variant(case, format!("{id}/{choice}"), |sql| sql.replace("d[0]", &choice), Some(number)));
        }
    }
    cases
}

/// YAML has keys that are numbers, and tags.
fn json(yaml: Yaml) -> Value {
    match yaml {
        Yaml::Null => Value::Null,
        Yaml::Bool(value) => value.into(),
        Yaml::Number(number) => serde_json::to_value(number).unwrap(),
        Yaml::String(text) => text.into(),
        Yaml::Sequence(items) => items.into_iter().map(json).collect(),
        Yaml::Mapping(items) => items.into_iter().map(|(key, value)| (text(&json(key)), json(value))).collect(),
        Yaml::Tagged(tagged) => json(tagged.value),
    }
}

fn variant(case: &Value, id: String, sql: impl Fn(String) -> String, number: Option<usize>) -> Case {
    let inputs = case["inputs"].as_array().map_or(&[][..], Vec::as_slice);
    let tables: Vec<Table> = inputs.iter().enumerate().map(|(number, input)| table(number, input)).collect();
    let mut statement = sql(text(&case["sql"]));
    for (number, table) in tables.iter().enumerate() {
        statement = statement.replace(&format!("{{{number}}}"), &table.name);
    }
    let provided = number.map(|number| &case["expectProvider"][number.to_string()]).filter(|provided| !provided.is_null());
    let expected = expected(&case["expect"], provided);
    Case { id, sql: statement, tables, expected }
}

fn table(number: usize, input: &Value) -> Table {
    let name = input["name"].as_str().map_or_else(|| format!("t{number}"), str::to_owned);
    let columns = columns(if input["columns"].is_null() { &input["schema"] } else { &input["columns"] });
    let types: Vec<Type> = columns.iter().map(|column| column.1).collect();
    let indexes = match (&input["indexs"], &input["index"]) {
        (Value::Array(indexes), _) => indexes.iter().map(|index| self::index(&text(index))).collect(),
        (_, Value::String(index)) => vec![self::index(index)],
        _ => Vec::new(),
    };
    Table { name, rows: rows(input, &types), columns, indexes, elsewhere: !input["resource"].is_null() }
}

/// `index1:c1|c3:c7`.
fn index(text: &str) -> (Vec<String>, Option<String>) {
    let mut parts = text.split(':').skip(1);
    let keys = parts.next().unwrap_or_default().split('|').map(str::to_owned).collect();
    (keys, parts.next().map(str::to_owned))
}

/// `["id int", …]`, or `id:int, …`.
fn columns(written: &Value) -> Vec<(String, Type)> {
    let parts: Vec<String> = match written {
        Value::Array(parts) => parts.iter().map(text).collect(),
        Value::String(parts) => parts.split(',').map(|part| part.replace(':', " ")).filter(|part| !part.trim().is_empty()).collect(),
        _ => Vec::new(),
    };
    let column = |part: &String| {
        // A name may have blanks in it, `sum(c4)over w1 bigint`; a type has none.
        let (name, of) = part.trim().rsplit_once(char::is_whitespace).unwrap_or_else(|| panic!("a name and a type: {part}"));
        (name.trim().to_owned(), Type::of(of))
    };
    parts.iter().map(column).collect()
}

fn rows(written: &Value, types: &[Type]) -> Vec<Vec<Value>> {
    if let Some(rows) = written["rows"].as_array() {
        return rows.iter().map(|row| row.as_array().unwrap().iter().zip(types).map(|(value, of)| typed(value, *of)).collect()).collect();
    }
    let lines = written["data"].as_str().unwrap_or_default().lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| line.split(',').zip(types).map(|(value, of)| of.read(value.trim())).collect()).collect()
}

/// YAML takes `g1` for a text and `1` for a number, whatever the column is.
fn typed(value: &Value, of: Type) -> Value {
    match (value, of) {
        (Value::Number(number), Type::Text | Type::Date) => number.to_string().into(),
        (Value::String(text), Type::Int16 | Type::Int32 | Type::Int64 | Type::Float | Type::Double) => of.read(text),
        _ => value.clone(),
    }
}

fn expected(written: &Value, provided: Option<&Value>) -> Expected {
    if written["success"] == Value::Bool(false) {
        return Expected::Refusal;
    }
    if written["success"] == Value::Bool(true) && written["rows"].is_null() {
        return Expected::Acceptance;
    }
    let types: Vec<Type> =
        columns(if written["columns"].is_null() { &written["schema"] } else { &written["columns"] }).into_iter().map(|column| column.1).collect();
    Expected::Rows { rows: rows(provided.unwrap_or(written), &types), types }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
