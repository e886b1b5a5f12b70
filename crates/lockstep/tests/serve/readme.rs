//! The commands of the README's section on serving, and of the page on scoring, do what they say, where this machine has what they need.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::project::Project;
use crate::support::Server;

const PAGES: [&str; 2] = [include_str!("../../../../README.md"), include_str!("../../../../docs/scoring.md")];
/// The address in its commands.
const ADDRESS: &str = "localhost:7474";

fn section(title: &str) -> &'static str {
    let begins = format!("\n## {title}\n");
    let (page, from) = PAGES.iter().find_map(|page| Some((page, page.find(&begins)?))).expect("a section of the title");
    let length = page[from + 1..].find("\n## ").expect("a section after it");
    &page[from..from + 1 + length]
}

/// Indented lines that begin with `tool`, as they are asked of a server.
fn commands(title: &str, tool: &str, server: &Server) -> Vec<String> {
    let lines = section(title).lines().filter_map(|line| line.strip_prefix("    ")).filter(|line| line.starts_with(&format!("{tool} ")));
    let commands: Vec<String> = lines.map(|line| line.replace(ADDRESS, &server.address)).collect();
    assert!(!commands.is_empty() && commands.iter().all(|command| command.contains(&server.address)), "{commands:?}");
    commands
}

fn is_there(tool: &str, arguments: &[&str]) -> bool {
    let tried = Command::new(tool).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let there = tried.is_ok_and(|status| status.success());
    if !there {
        println!("no `{tool} {}` here, so that what needs it was not tried", arguments.join(" "));
    }
    there
}

fn run(project: &Project, command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).current_dir(&project.dir).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn curl() {
    if !is_there("curl", &["--version"]) {
        return;
    }
    let project = Project::new();
    let server = Server::start(&project);
    let answers: Vec<Value> = commands("Serving", "curl", &server)
        .iter()
        .map(|command| serde_json::from_str(&run(&project, &command.replacen("curl", "curl --silent --show-error --fail", 1))).unwrap())
        .collect();
    assert_eq!((&answers[0]["rows"], &answers[1]["rows"]), (&1.into(), &2.into()), "{answers:?}");
    assert_eq!(answers[0]["features"][0]["statuses"][0], "PRESENT", "{answers:?}");
}

#[test]
fn grpcurl() {
    if !is_there("grpcurl", &["-version"]) {
        return;
    }
    let project = Project::new();
    let server = Server::start(&project);
    for command in commands("Serving", "grpcurl", &server) {
        let answer: Value = serde_json::from_str(&run(&project, &command)).unwrap();
        assert_eq!((&answer["rows"], &answer["reads"][0]["view"]), (&1.into(), &"card_activity".into()), "{answer}");
    }
}

#[test]
fn python() {
    if !is_there("python3", &["-c", "import grpc, grpc_tools.protoc"]) {
        return;
    }
    let project = Project::new();
    let server = Server::start(&project);
    let generate = section("Serving").split('`').find(|code| code.starts_with("python -m grpc_tools.protoc")).expect("how stubs are made");
    let generate = generate.replacen("python ", "python3 ", 1).replace("-Iproto", concat!("-I", env!("CARGO_MANIFEST_DIR"), "/../../proto"));
    run(&project, &generate);
    let code: Vec<&str> =
        section("Serving").lines().skip_while(|line| *line != "    import grpc").map_while(|line| line.strip_prefix("    ")).collect();
    let program = format!("{}\nprint(answer.rows, answer.features[0].name)\n", code.join("\n").replace(ADDRESS, &server.address));
    std::fs::write(project.dir.join("ask.py"), program).unwrap();
    assert_eq!(run(&project, "python3 ask.py"), "2 payments_1h\n");
}

#[test]
fn scoring() {
    let project = crate::scoring::project();
    let server = Server::start(&project);
    for line in section("Scoring").lines().filter_map(|line| line.strip_prefix("    lockstep score ")) {
        let said = project.run(&["score"].into_iter().chain(line.split_whitespace()).collect::<Vec<_>>()).fine();
        assert!(said.contains("risk") && said.contains("by MODEL"), "{said}");
    }
    if is_there("curl", &["--version"]) {
        let answers: Vec<Value> = commands("Scoring", "curl", &server)
            .iter()
            .map(|command| serde_json::from_str(&run(&project, &command.replacen("curl", "curl --silent --show-error --fail", 1))).unwrap())
            .collect();
        assert_eq!((&answers[0]["rows"], &answers[0]["ways"][0], &answers[1]["name"]), (&2.into(), &"MODEL".into(), &"fraud".into()), "{answers:?}");
    }
    if is_there("grpcurl", &["-version"]) {
        for command in commands("Scoring", "grpcurl", &server) {
            let answer: Value = serde_json::from_str(&run(&project, &command)).unwrap();
            assert_eq!((&answer["rows"], &answer["ways"][0]), (&1.into(), &"WAY_MODEL".into()), "{answer}");
        }
    }
}
