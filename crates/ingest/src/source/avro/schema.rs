//! Schemas: checked, and written out without references.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

/// Deepest nesting of types, and most types of a schema that is written out.
const DEPTH_MAX: usize = 64;
const TYPES_MAX: usize = 10_000;
/// Most digits that a decimal may have.
const DIGITS_MAX: u64 = 76;

/// A schema that was checked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Schema {
    pub(super) data_type: Type,
    /// As JSON that refers to no type by name.
    json: Value,
}

/// A type. Named types stand where they are used.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Type {
    Null,
    Boolean,
    Int(Int),
    Long(Option<Moment>),
    Float,
    Double,
    Bytes,
    Text,
    Fixed { size: usize, uuid: bool },
    Decimal { digits: u64, places: u64, size: Option<usize> },
    Enum(Vec<String>),
    Array(Box<Type>),
    Map(Box<Type>),
    Union(Vec<Type>),
    Record(Vec<Field>),
}

/// What an int means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Int {
    Number,
    Date,
}

/// What a long means that is a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) per_second: i64,
    /// Of some local clock.
    pub(super) local: bool,
}

/// A field of a record.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) aliases: Vec<String>,
    pub(super) default: Option<Value>,
    pub(super) data_type: Type,
}

impl Schema {
    /// Reads a schema. `references` are the schemas of named types that it may use, each after those that it uses itself.
    ///
    /// # Errors
    /// What is wrong with it, or is not read.
    pub(super) fn parse(text: &str, references: &[String]) -> Result<Schema, String> {
        let mut parser = Parser::default();
        for reference in references {
            parser.parse(reference)?;
        }
        parser.types = 0;
        let (data_type, json) = parser.parse(text)?;
        Ok(Schema { data_type, json })
    }

    /// The fields, where it is a record.
    pub(super) fn fields(&self) -> Option<&[Field]> {
        match &self.data_type {
            Type::Record(fields) => Some(fields),
            _ => None,
        }
    }

    /// As arrow-avro takes it.
    pub(super) fn json(&self) -> String {
        self.json.to_string()
    }
}

impl Type {
    /// Bytes that each value of it takes at least.
    fn bytes_min(&self) -> usize {
        match self {
            Type::Null => 0,
            Type::Fixed { size, .. } | Type::Decimal { size: Some(size), .. } => *size,
            Type::Float => 4,
            Type::Double => 8,
            Type::Record(fields) => fields.iter().map(|field| field.data_type.bytes_min()).sum(),
            _ => 1,
        }
    }

    /// Types that it is made of, itself included.
    fn count(&self) -> usize {
        1 + match self {
            Type::Array(inner) | Type::Map(inner) => inner.count(),
            Type::Union(branches) => branches.iter().map(Type::count).sum(),
            Type::Record(fields) => fields.iter().map(|field| field.data_type.count()).sum(),
            _ => 0,
        }
    }
}

#[derive(Default)]
struct Parser {
    /// Types by full name; none while it is being read.
    named: HashMap<String, Option<(Type, Value)>>,
    types: usize,
    /// Types that were named, so that each has a name of its own where it is written out.
    names: usize,
}

type Parsed = Result<(Type, Value), String>;

impl Parser {
    fn parse(&mut self, text: &str) -> Parsed {
        let value: Value = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
        self.schema(&value, "", 0)
    }

    fn schema(&mut self, value: &Value, namespace: &str, depth: usize) -> Parsed {
        self.types += 1;
        if depth > DEPTH_MAX || self.types > TYPES_MAX {
            return Err(format!("is larger than what is read: {DEPTH_MAX} levels, {TYPES_MAX} types"));
        }
        match value {
            Value::String(name) => self.by_name(name, namespace),
            Value::Array(branches) => self.union(branches, namespace, depth),
            Value::Object(object) => match object.get("type") {
                Some(Value::String(kind)) => self.complex(kind, object, namespace, depth),
                Some(inner) => self.schema(inner, namespace, depth + 1),
                None => Err("has an object without `type`".to_owned()),
            },
            other => Err(format!("has {other} where a type should be")),
        }
    }

    fn complex(&mut self, kind: &str, object: &Map<String, Value>, namespace: &str, depth: usize) -> Parsed {
        let inner = |name: &str| object.get(name).ok_or_else(|| format!("has an {kind} without `{name}`"));
        match kind {
            "record" | "error" => self.record(object, namespace, depth),
            "enum" => self.named(object, namespace, enumeration),
            "fixed" => self.named(object, namespace, fixed),
            "array" => {
                let (items, json) = self.schema(inner("items")?, namespace, depth + 1)?;
                if items.bytes_min() == 0 {
                    return Err("has an array whose elements take no bytes, so that nothing bounds their number".to_owned());
                }
                Ok((Type::Array(Box::new(items)), json!({"type": "array", "items": json})))
            }
            "map" => {
                let (values, json) = self.schema(inner("values")?, namespace, depth + 1)?;
                Ok((Type::Map(Box::new(values)), json!({"type": "map", "values": json})))
            }
            primitive => match logical(primitive, object)? {
                Some(parsed) => Ok(parsed),
                None => self.by_name(primitive, namespace),
            },
        }
    }

    fn union(&mut self, branches: &[Value], namespace: &str, depth: usize) -> Parsed {
        let mut types = Vec::with_capacity(branches.len());
        let mut jsons = Vec::with_capacity(branches.len());
        for branch in branches {
            let (data_type, json) = self.schema(branch, namespace, depth + 1)?;
            if matches!(data_type, Type::Union(_)) {
                return Err("has a union within a union".to_owned());
            }
            types.push(data_type);
            jsons.push(json);
        }
        match <[_; 1]>::try_from(types) {
            // A union of one is that one, behind its number.
            Ok([only]) => Ok((Type::Union(vec![only]), Value::Array(jsons))),
            Err(types) if types.is_empty() => Err("has a union of nothing".to_owned()),
            Err(types) => Ok((Type::Union(types), Value::Array(jsons))),
        }
    }

    fn record(&mut self, object: &Map<String, Value>, namespace: &str, depth: usize) -> Parsed {
        let (full, namespace) = full_name(object, namespace)?;
        self.named.insert(full.clone(), None);
        let written = object.get("fields").and_then(Value::as_array).ok_or_else(|| format!("has a record `{full}` without fields"))?;
        let (mut fields, mut jsons) = (Vec::with_capacity(written.len()), Vec::with_capacity(written.len()));
        for field in written {
            let (field, json) = self.field(field, &full, &namespace, depth)?;
            if fields.iter().any(|known: &Field| known.name == field.name) {
                return Err(format!("has a record `{full}` with two fields `{}`", field.name));
            }
            fields.push(field);
            jsons.push(json);
        }
        self.names += 1;
        let json = json!({"type": "record", "name": format!("r{}", self.names), "fields": jsons});
        Ok(self.remember(full, Type::Record(fields), json))
    }

    fn field(&mut self, value: &Value, record: &str, namespace: &str, depth: usize) -> Result<(Field, Value), String> {
        let name = value.get("name").and_then(Value::as_str).ok_or_else(|| format!("has a field without a name in record `{record}`"))?;
        check_name(name)?;
        let written = value.get("type").ok_or_else(|| format!("has a field `{name}` without a type"))?;
        let (data_type, json) = self.schema(written, namespace, depth + 1)?;
        let aliases = value.get("aliases").and_then(Value::as_array).into_iter().flatten();
        let field = Field {
            name: name.to_owned(),
            aliases: aliases.filter_map(Value::as_str).map(str::to_owned).collect(),
            default: value.get("default").cloned(),
            data_type,
        };
        Ok((field, json!({"name": name, "type": json})))
    }

    fn named(&mut self, object: &Map<String, Value>, namespace: &str, read: fn(&str, &Map<String, Value>, String) -> Parsed) -> Parsed {
        let (full, _) = full_name(object, namespace)?;
        self.names += 1;
        let (data_type, json) = read(&full, object, format!("n{}", self.names))?;
        Ok(self.remember(full, data_type, json))
    }

    fn remember(&mut self, name: String, data_type: Type, json: Value) -> (Type, Value) {
        self.named.insert(name, Some((data_type.clone(), json.clone())));
        (data_type, json)
    }

    fn by_name(&mut self, name: &str, namespace: &str) -> Parsed {
        if let Some(primitive) = primitive(name) {
            return Ok((primitive, json!(name)));
        }
        let full = if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") };
        let known = self.named.get(&full).or_else(|| self.named.get(name));
        let (data_type, json) = match known {
            Some(Some(known)) => known.clone(),
            Some(None) => return Err(format!("has a type `{name}` that contains itself, for which Arrow has no type")),
            None => return Err(format!("refers to a type `{name}` that it does not have")),
        };
        self.types += data_type.count();
        if self.types > TYPES_MAX {
            return Err(format!("is larger than what is read: {TYPES_MAX} types"));
        }
        Ok((data_type, json))
    }
}

fn primitive(name: &str) -> Option<Type> {
    Some(match name {
        "null" => Type::Null,
        "boolean" => Type::Boolean,
        "int" => Type::Int(Int::Number),
        "long" => Type::Long(None),
        "float" => Type::Float,
        "double" => Type::Double,
        "bytes" => Type::Bytes,
        "string" => Type::Text,
        _ => return None,
    })
}

/// A primitive type with attributes: a logical type that is not known, or does not fit, means nothing. The text of a UUID stays as it was written.
fn logical(kind: &str, object: &Map<String, Value>) -> Result<Option<(Type, Value)>, String> {
    let Some(plain) = primitive(kind) else { return Ok(None) };
    let logical = object.get("logicalType").and_then(Value::as_str).unwrap_or_default();
    let moment = |per_second, local| Type::Long(Some(Moment { per_second, local }));
    let data_type = match (&plain, logical) {
        (Type::Bytes, "decimal") => return decimal(object, None).map(Some),
        (Type::Int(_), "date") => Type::Int(Int::Date),
        (Type::Long(_), "timestamp-millis") => moment(1_000, false),
        (Type::Long(_), "timestamp-micros") => moment(1_000_000, false),
        (Type::Long(_), "timestamp-nanos") => moment(1_000_000_000, false),
        (Type::Long(_), "local-timestamp-millis") => moment(1_000, true),
        (Type::Long(_), "local-timestamp-micros") => moment(1_000_000, true),
        (Type::Long(_), "local-timestamp-nanos") => moment(1_000_000_000, true),
        // Times of day are no columns here; they keep their meaning, so that they are refused as such and not taken for numbers.
        (Type::Int(_), "time-millis") | (Type::Long(_), "time-micros") => return Ok(Some((plain, json!({"type": kind, "logicalType": logical})))),
        _ => return Ok(Some((plain, json!(kind)))),
    };
    Ok(Some((data_type, json!({"type": kind, "logicalType": logical}))))
}

fn decimal(object: &Map<String, Value>, fixed: Option<(String, usize)>) -> Parsed {
    let digits = object.get("precision").and_then(Value::as_u64).unwrap_or(0);
    let places = object.get("scale").map_or(Some(0), Value::as_u64).unwrap_or(u64::MAX);
    if !(1..=DIGITS_MAX).contains(&digits) || places > digits {
        return Err(format!("has a decimal that does not have 1 to {DIGITS_MAX} digits, of which none to all are after the point"));
    }
    let size = fixed.as_ref().map(|(_, size)| *size);
    let json = match fixed {
        Some((name, size)) => json!({"type": "fixed", "name": name, "size": size, "logicalType": "decimal", "precision": digits, "scale": places}),
        None => json!({"type": "bytes", "logicalType": "decimal", "precision": digits, "scale": places}),
    };
    Ok((Type::Decimal { digits, places, size }, json))
}

fn fixed(full: &str, object: &Map<String, Value>, name: String) -> Parsed {
    const SIZE_MAX: u64 = 1 << 24;
    let size = object.get("size").and_then(Value::as_u64).filter(|size| *size <= SIZE_MAX);
    let size =
        size.and_then(|size| usize::try_from(size).ok()).ok_or_else(|| format!("has a fixed `{full}` whose size is none, or beyond 16 MiB"))?;
    let logical = object.get("logicalType").and_then(Value::as_str);
    let plain = json!({"type": "fixed", "name": name, "size": size});
    match logical {
        Some("decimal") => decimal(object, Some((name, size))),
        Some("duration") if size == 12 => {
            Ok((Type::Fixed { size, uuid: false }, json!({"type": "fixed", "name": name, "size": size, "logicalType": "duration"})))
        }
        logical => Ok((Type::Fixed { size, uuid: logical == Some("uuid") && size == 16 }, plain)),
    }
}

fn enumeration(full: &str, object: &Map<String, Value>, name: String) -> Parsed {
    let symbols = object.get("symbols").and_then(Value::as_array).filter(|symbols| !symbols.is_empty());
    let symbols = symbols.and_then(|symbols| symbols.iter().map(|symbol| symbol.as_str().map(str::to_owned)).collect::<Option<Vec<String>>>());
    let symbols = symbols.ok_or_else(|| format!("has an enum `{full}` without symbols"))?;
    symbols.iter().try_for_each(|symbol| check_name(symbol))?;
    let json = json!({"type": "enum", "name": name, "symbols": symbols});
    Ok((Type::Enum(symbols), json))
}

/// The full name of a named type, and the namespace of what is in it.
fn full_name(object: &Map<String, Value>, enclosing: &str) -> Result<(String, String), String> {
    let name = object.get("name").and_then(Value::as_str).ok_or("has a named type without a name")?;
    if let Some((namespace, _)) = name.rsplit_once('.') {
        return Ok((name.to_owned(), namespace.to_owned()));
    }
    check_name(name)?;
    let namespace = object.get("namespace").and_then(Value::as_str).unwrap_or(enclosing);
    let full = if namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") };
    Ok((full, namespace.to_owned()))
}

/// Names are Avro's, though of any script: arrow-avro reads none that JSON would escape.
fn check_name(name: &str) -> Result<(), String> {
    let is_fine = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    if is_fine { Ok(()) } else { Err(format!("has a name `{}`, which is none in Avro", name.escape_debug())) }
}
