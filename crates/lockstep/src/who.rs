//! Who changes a store and why, for those who read it later.

use clap::Args;

/// Why something is done, and by whom.
#[derive(Debug, Clone, Args)]
pub struct Signed {
    /// Why, for those who read it later
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// By whom; the user at this machine by default
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

impl Signed {
    /// By whom.
    pub fn by(&self) -> Option<String> {
        who(self.by.as_deref())
    }
}

/// Whoever is named; else the user at this machine, as far as the environment says.
fn who(named: Option<&str>) -> Option<String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = || variable("USER").or_else(|| variable("LOGNAME"));
    let machine = std::fs::read_to_string("/etc/hostname").ok().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    named.map(str::to_owned).or_else(|| {
        let user = user()?;
        Some(machine.map_or_else(|| user.clone(), |machine| format!("{user}@{machine}")))
    })
}
