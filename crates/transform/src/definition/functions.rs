//! The functions a definition may call.
//!
//! Scalar functions are immutable, and none has bits that come from the platform's libm, from a session's settings or from the
//! order in which a build adds floats. Types are the planner's to check; the number of arguments too, but for aggregates.

use crate::functions;

/// What a function is to a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    /// A function of its arguments alone.
    Scalar,
    /// A function of the events of a window.
    Aggregate(Aggregate),
    /// Known, and refused.
    Refused(Refusal),
    Unknown,
}

/// An aggregate by what the checks need to know about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Aggregate {
    pub(super) name: &'static str,
    /// How many arguments it takes.
    pub(super) arguments: usize,
    /// Whether it is one of a row of the window, so that NULLs can be ignored, and DataFusion takes no FILTER.
    pub(super) positional: bool,
}

/// Why a function is refused, and what to write instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: &'static str,
    pub(super) help: &'static str,
}

/// Aggregates, with their other names.
const AGGREGATES: [(Aggregate, &[&str]); 17] = [
    (aggregate("count", 1), &[]),
    (aggregate("sum", 1), &[]),
    (aggregate("avg", 1), &["mean"]),
    (aggregate("min", 1), &[]),
    (aggregate("max", 1), &[]),
    (aggregate("var", 1), &["var_samp", "var_sample"]),
    (aggregate("var_pop", 1), &["var_population"]),
    (aggregate("stddev", 1), &["stddev_samp"]),
    (aggregate("stddev_pop", 1), &[]),
    (aggregate("bool_and", 1), &[]),
    (aggregate("bool_or", 1), &[]),
    (aggregate("approx_distinct", 1), &[]),
    (aggregate("approx_percentile_cont", 2), &[]),
    (aggregate("array_agg", 1), &[]),
    (positional("first_value", 1), &[]),
    (positional("last_value", 1), &[]),
    (positional("nth_value", 2), &[]),
];

const fn aggregate(name: &'static str, arguments: usize) -> Aggregate {
    Aggregate { name, arguments, positional: false }
}

const fn positional(name: &'static str, arguments: usize) -> Aggregate {
    Aggregate { name, arguments, positional: true }
}

/// Scalar functions, in lower case.
const SCALARS: &[&str] = &[
    // conditions
    "coalesce",
    "greatest",
    "ifnull",
    "least",
    "nullif",
    "nvl",
    "nvl2",
    // numbers; `sqrt` is rounded correctly by IEEE 754, `round` multiplies by exact powers of ten
    "abs",
    "ceil",
    "degrees",
    "factorial",
    "floor",
    "gcd",
    "isnan",
    "iszero",
    "lcm",
    "nanvl",
    "pi",
    "radians",
    "round",
    "signum",
    "sqrt",
    "trunc",
    // texts
    "ascii",
    "bit_length",
    "btrim",
    "char_length",
    "character_length",
    "chr",
    "concat",
    "concat_ws",
    "contains",
    "ends_with",
    "find_in_set",
    "initcap",
    "instr",
    "left",
    "length",
    "levenshtein",
    "lower",
    "lpad",
    "ltrim",
    "octet_length",
    "overlay",
    "position",
    "regexp_count",
    "regexp_instr",
    "regexp_like",
    "regexp_match",
    "regexp_replace",
    "repeat",
    "replace",
    "reverse",
    "right",
    "rpad",
    "rtrim",
    "split_part",
    "starts_with",
    "strpos",
    "substr",
    "substr_index",
    "substring",
    "substring_index",
    "to_hex",
    "translate",
    "trim",
    "upper",
    // moments and dates
    "date_bin",
    "date_format",
    "date_part",
    "date_trunc",
    "datepart",
    "datetrunc",
    "from_unixtime",
    "make_date",
    "to_char",
    "to_date",
    "to_local_time",
    // types
    "arrow_cast",
    "arrow_try_cast",
    // lists
    "array_add",
    "array_any_value",
    "array_append",
    "array_compact",
    "array_concat",
    "array_dims",
    "array_distinct",
    "array_element",
    "array_except",
    "array_has",
    "array_has_all",
    "array_has_any",
    "array_intersect",
    "array_length",
    "array_max",
    "array_min",
    "array_ndims",
    "array_pop_back",
    "array_pop_front",
    "array_position",
    "array_positions",
    "array_prepend",
    "array_remove",
    "array_remove_all",
    "array_remove_n",
    "array_repeat",
    "array_replace",
    "array_replace_all",
    "array_replace_n",
    "array_resize",
    "array_reverse",
    "array_scale",
    "array_slice",
    "array_sort",
    "array_cat",
    "array_contains",
    "array_empty",
    "array_extract",
    "array_indexof",
    "array_join",
    "array_push_back",
    "array_push_front",
    "array_subtract",
    "array_to_string",
    "array_union",
    "arrays_overlap",
    "cardinality",
    "decode",
    "encode",
    "empty",
    "flatten",
    "generate_series",
    "make_array",
    "make_list",
    "range",
    "string_to_array",
    "string_to_list",
];

const LIBM: &str = "its last bits come from the platform's libm, so that two machines could give two values";
const SESSION: &str = "its value depends on a setting of the session";
const CLOCK: &str = "its value depends on when it runs, so that training and serving could not agree";
const RANDOM: &str = "its value is another one each time it runs, so that training and serving could not agree";
const ROW_ORDER: &str = "it gives a number to every row of a batch, and a feature is a value at a moment, which is no row";
const FLOAT_ORDER: &str = "it adds floats in an order that the build decides";
const NOT_EXACT: &str = "no exact state of it is kept, so that it could not be served as it was trained on";

const REFUSED: &[(&[&str], Refusal)] = &[
    (&["power", "pow"], refusal(LIBM, "multiply: `x * x`")),
    (&["exp", "ln", "log", "log2", "log10", "cbrt"], refusal(LIBM, "give the model the value itself, or steps of it by CASE; `sqrt` is exact")),
    (
        &["sin", "cos", "tan", "cot", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh"],
        refusal(LIBM, "give the model the angle itself, or steps of it by CASE"),
    ),
    (
        &["now", "current_timestamp", "current_date", "current_time", "today", "localtime", "localtimestamp"],
        refusal(
            CLOCK,
            "in a view, give the event time itself (`max(departed_at) OVER w`), and subtract it in a service: `r.request_time - p.last_departed_at`",
        ),
    ),
    (&["random", "rand", "uuid"], refusal(RANDOM, "take a value from the event, such as its primary key")),
    (
        &["to_timestamp", "to_timestamp_seconds", "to_timestamp_millis", "to_timestamp_micros", "to_timestamp_nanos"],
        refusal(SESSION, "write CAST(x AS TIMESTAMP), or from_unixtime(seconds)"),
    ),
    (&["to_unixtime"], refusal(SESSION, "write date_part('epoch', x)")),
    (&["current_user", "current_catalog", "session_user", "current_schema", "version"], refusal(SESSION, "leave it out")),
    (
        &["lag"],
        refusal(
            ROW_ORDER,
            "write last_value(x) over ROWS BETWEEN 1 PRECEDING AND 1 PRECEDING, or, for what was known strictly before this moment, over a RANGE frame that ends at INTERVAL '1 microsecond' PRECEDING",
        ),
    ),
    (&["lead"], refusal("it looks at events that have not happened yet", "write last_value(x) over a frame that ends at CURRENT ROW")),
    (&["row_number", "rank", "dense_rank"], refusal(ROW_ORDER, "for how many events there were, write count(*) over the window")),
    (&["ntile", "percent_rank", "cume_dist"], refusal(ROW_ORDER, "for a quantile, write approx_percentile_cont(x, 0.9) over the window")),
    (&["median", "approx_median"], refusal(NOT_EXACT, "write approx_percentile_cont(x, 0.5)")),
    (&["percentile_cont", "quantile_cont", "approx_percentile_cont_with_weight"], refusal(NOT_EXACT, "write approx_percentile_cont(x, 0.9)")),
    (&["string_agg"], refusal(NOT_EXACT, "write array_to_string(array_agg(x) OVER w, ', ')")),
    (&["any_value"], refusal("which value it gives depends on the order in which events arrive", "write first_value(x) or last_value(x)")),
    (
        &[
            "corr",
            "covar",
            "covar_samp",
            "covar_pop",
            "regr_slope",
            "regr_intercept",
            "regr_count",
            "regr_r2",
            "regr_avgx",
            "regr_avgy",
            "regr_sxx",
            "regr_syy",
            "regr_sxy",
        ],
        refusal(NOT_EXACT, "give the model the means: avg(x), avg(y) and avg(x * y)"),
    ),
    (&["bit_and", "bit_or", "bit_xor", "grouping"], refusal(NOT_EXACT, "take bool_and or bool_or of a condition")),
    (
        &[
            "array_sum",
            "list_sum",
            "array_avg",
            "list_avg",
            "array_product",
            "list_product",
            "array_distance",
            "list_distance",
            "array_normalize",
            "list_normalize",
        ],
        refusal(FLOAT_ORDER, "aggregate the elements over a window instead, which is exact"),
    ),
    (&["inner_product", "dot_product"], refusal(FLOAT_ORDER, "write dot(a, b), whose sum is exact")),
    (&["cosine_distance", "cosine_similarity"], refusal(FLOAT_ORDER, "write cosine(a, b), or 1 - cosine(a, b) for the distance")),
    (
        &["unnest", "unnest_outer"],
        refusal("it makes several rows of one", "write the rows as events of their own; in a service, write CROSS JOIN UNNEST(list) AS i(item)"),
    ),
    (
        &["array_transform", "list_transform", "array_filter", "list_filter", "array_any_match", "any_match", "list_any_match"],
        refusal("it takes a function of its own for an argument", "filter events with FILTER (WHERE …) before they become a list"),
    ),
    (
        &[
            "struct",
            "row",
            "named_struct",
            "get_field",
            "map",
            "make_map",
            "map_extract",
            "element_at",
            "map_keys",
            "map_values",
            "map_entries",
            "arrays_zip",
            "list_zip",
        ],
        refusal("features have no fields", "write a feature for each field"),
    ),
];

const fn refusal(reason: &'static str, help: &'static str) -> Refusal {
    Refusal { reason, help }
}

/// What a function is, by its name in lower case.
pub(super) fn function(name: &str) -> Function {
    if functions::NAMES.contains(&name) {
        return Function::Scalar;
    }
    if let Some((aggregate, _)) = AGGREGATES.iter().find(|(aggregate, others)| aggregate.name == name || others.contains(&name)) {
        return Function::Aggregate(*aggregate);
    }
    if let Some((_, refusal)) = REFUSED.iter().find(|(names, _)| names.contains(&name)) {
        return Function::Refused(*refusal);
    }
    // DataFusion calls its list functions by either name.
    let list = name.strip_prefix("list_").map(|rest| format!("array_{rest}"));
    if SCALARS.contains(&name) || list.is_some_and(|name| SCALARS.contains(&name.as_str())) { Function::Scalar } else { Function::Unknown }
}

/// The names of all aggregates, for messages.
pub(super) fn aggregate_names() -> Vec<&'static str> {
    AGGREGATES.iter().map(|(aggregate, _)| aggregate.name).collect()
}

/// The names of all functions, for messages.
pub(super) fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = SCALARS.iter().copied().chain(functions::NAMES).chain(aggregate_names()).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use datafusion::logical_expr::Volatility;
    use datafusion::prelude::SessionContext;

    use super::*;

    #[test]
    fn every_scalar_function_is_one_of_datafusions_and_immutable() {
        let state = SessionContext::new().state();
        for name in SCALARS {
            let function = state.scalar_functions().get(*name).unwrap_or_else(|| panic!("`{name}` is no function of DataFusion's"));
            assert_eq!(function.signature().volatility, Volatility::Immutable, "{name}");
        }
        for name in aggregate_names() {
            assert!(state.aggregate_functions().contains_key(name) || state.window_functions().contains_key(name), "{name}");
        }
    }

    #[test]
    fn no_function_is_both_allowed_and_refused() {
        let allowed: HashSet<_> = names().into_iter().collect();
        for (names, _) in REFUSED {
            assert!(names.iter().all(|name| !allowed.contains(name)), "{names:?}");
        }
    }

    /// A new release of DataFusion brings functions; whether they are allowed is to be decided, not overlooked.
    #[test]
    fn every_function_of_datafusions_is_decided_on() {
        let state = SessionContext::new().state();
        let scalars = state.scalar_functions().keys();
        let undecided: Vec<_> = scalars
            .chain(state.aggregate_functions().keys())
            .chain(state.window_functions().keys())
            .filter(|name| function(name) == Function::Unknown && !UNUSED.contains(&name.as_str()))
            .collect();
        assert!(undecided.is_empty(), "{undecided:?}");
    }

    /// Functions that no definition needs: of Arrow's metadata, of files, of types that columns cannot have.
    const UNUSED: &[&str] = &[
        "arrow_field",
        "arrow_metadata",
        "arrow_typeof",
        "cast_to_type",
        "file_row_index",
        "input_file_name",
        "make_time",
        "to_time",
        "try_cast_to_type",
        "union_extract",
        "union_tag",
        "with_metadata",
    ];
}
