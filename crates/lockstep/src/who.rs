//! Who changes a store, for those who read it later.

/// Whoever is named; else the user at this machine, as far as the environment says.
pub fn who(named: Option<&str>) -> Option<String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = || variable("USER").or_else(|| variable("LOGNAME"));
    let machine = std::fs::read_to_string("/etc/hostname").ok().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    named.map(str::to_owned).or_else(|| {
        let user = user()?;
        Some(machine.map_or_else(|| user.clone(), |machine| format!("{user}@{machine}")))
    })
}
