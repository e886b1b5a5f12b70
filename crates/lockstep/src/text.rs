//! Numbers, sizes, spans and names as people read them.

use lockstep_transform::definition::suggestion;

/// `1 view`, `2 views`, `1,000 views`.
pub fn counted(n: impl TryInto<u64>, one: &str, many: &str) -> String {
    let n = n.try_into().unwrap_or(u64::MAX);
    format!("{} {}", grouped(n), if n == 1 { one } else { many })
}

/// `1,234,567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `512 B`, `1.5 KiB`, `64 MiB`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(value < 100.0 && (value * 10.0).round() % 10.0 != 0.0);
    format!("{value:.digits$} {}", UNITS[unit])
}

const UNITS: [(&str, i64); 6] =
    [("day", 86_400_000_000), ("hour", 3_600_000_000), ("minute", 60_000_000), ("second", 1_000_000), ("millisecond", 1_000), ("microsecond", 1)];

/// A span as a definition would write it: `1 hour`, `7 days`, `1 hour 30 minutes`.
pub fn span(micros: i64) -> String {
    let mut rest = micros.unsigned_abs();
    let mut parts = Vec::new();
    for (name, size) in UNITS {
        let count = rest / size.unsigned_abs();
        rest %= size.unsigned_abs();
        if count > 0 {
            parts.push(format!("{count} {name}{}", if count == 1 { "" } else { "s" }));
        }
    }
    match (parts.is_empty(), micros < 0) {
        (true, _) => "0 seconds".to_owned(),
        (_, true) => format!("−{}", parts.join(" ")),
        (_, false) => parts.join(" "),
    }
}

/// A span in at most two units, rounded down: `3d 4h`, `12m 5s`, `250ms`.
pub fn age(micros: i64) -> String {
    const SHORT: [&str; 6] = ["d", "h", "m", "s", "ms", "µs"];
    let sign = if micros < 0 { "−" } else { "" };
    let micros = micros.unsigned_abs();
    let Some(first) = UNITS.iter().position(|&(_, size)| micros >= size.unsigned_abs()) else { return "0s".to_owned() };
    let whole = micros / UNITS[first].1.unsigned_abs();
    let second = UNITS.get(first + 1).filter(|_| first < 3).map(|&(_, size)| micros % UNITS[first].1.unsigned_abs() / size.unsigned_abs());
    match second {
        Some(rest) if rest > 0 && first < 3 => format!("{sign}{whole}{} {rest}{}", SHORT[first], SHORT[first + 1]),
        _ => format!("{sign}{whole}{}", SHORT[first]),
    }
}

/// ` · did you mean …?`, or nothing.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    suggestion(name, known).map_or_else(String::new, |near| format!(" · did you mean `{near}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_counted() {
        assert_eq!([grouped(0), grouped(999), grouped(1_234_567)], ["0", "999", "1,234,567"]);
        assert_eq!([counted(1u64, "view", "views"), counted(1000usize, "view", "views")], ["1 view", "1,000 views"]);
    }

    #[test]
    fn sizes_have_a_unit() {
        let sizes = [0, 1023, 1024, 1536, 64 << 20, (1 << 30) - 1];
        assert_eq!(sizes.map(bytes), ["0 B", "1023 B", "1 KiB", "1.5 KiB", "64 MiB", "1 GiB"]);
    }

    #[test]
    fn spans_read_as_they_are_written() {
        assert_eq!(span(3_600_000_000), "1 hour");
        assert_eq!(span(7 * 86_400_000_000 + 60_000_001), "7 days 1 minute 1 microsecond");
        assert_eq!(span(0), "0 seconds");
        assert_eq!(
            [age(0), age(90_000_000), age(3 * 86_400_000_000 + 4 * 3_600_000_000), age(1_500), age(-61_000_000)],
            ["0s", "1m 30s", "3d 4h", "1ms", "−1m 1s"]
        );
    }

    #[test]
    fn a_near_name_is_said_and_a_far_one_is_not() {
        assert_eq!(did_you_mean("airprot_load", ["airport_load", "plane_recent"]), " · did you mean `airport_load`?");
        assert_eq!(did_you_mean("weather", ["airport_load", "plane_recent"]), "");
    }
}
