//! The page: what it is made of, what it shows, and that it works without a mouse, in light and in dark.

use serde_json::Value;

use crate::browser::{Browser, ENTER};
use crate::project::{Project, wait_for};
use crate::secure::settings;
use crate::support::{AT, Server, agent, read};

fn json(server: &Server, path: &str) -> Value {
    let (status, text) = server.get(path);
    assert_eq!(status, 200, "{path}: {text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn its_files_need_nothing_and_allow_nothing_else() {
    let project = Project::new();
    std::fs::write(project.dir.join("reader"), "r3ad-me\n").unwrap();
    settings(&project, "[serve.tokens.people]\nrole = 'read'\nfile = 'reader'\n");
    let server = Server::start(&project);
    let page = agent().get(server.url()).call().unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'"), "{policy}");
    let (_, html) = read(Ok(page));
    for file in html.split('"').filter(|part| part.starts_with("/page/")) {
        assert_eq!(server.get(file).0, 200, "{file}");
    }
    // No place but this one is named, and what is imported is there.
    for file in ["page.css", "page.js", "dom.js", "charts.js", "now.js", "features.js", "lineage.js", "lookup.js"] {
        let (status, text) = server.get(&format!("/page/{file}"));
        assert_eq!(status, 200, "{file}");
        let urls = text.matches("http").count() - text.matches("http://www.w3.org/2000/svg").count();
        assert_eq!(urls, 0, "{file}");
        for import in text.lines().filter_map(|line| line.strip_prefix("import ")?.split('"').nth(1)) {
            assert_eq!(server.get(&format!("/page/{}", import.trim_start_matches("./"))).0, 200, "{file} imports {import}");
        }
    }
    assert_eq!(server.get("/page/other.js").0, 404);
    // What it shows does need a token.
    assert_eq!((server.get("/v1/overview").0, server.get("/v1/status").0), (401, 401));
}

#[test]
fn an_overview_says_how_things_hang_together_and_what_is_used() {
    let project = crate::scoring::project();
    let server = Server::start(&project);
    let before = json(&server, "/v1/overview");
    let view = |overview: &Value| overview["views"].as_array().unwrap().iter().find(|view| view["name"] == "card_activity").unwrap().clone();
    assert_eq!((&view(&before)["asked"], view(&before).get("asked_at")), (&Value::from(0), None));
    assert_eq!(before["sources"][0]["views"], serde_json::json!(["card_activity"]));
    assert!(view(&before)["sql"].as_str().unwrap().starts_with("CREATE FEATURE VIEW card_activity"));
    assert!(view(&before)["applied"].as_u64().unwrap() > 0);
    // A deployment that is asked asks for its service, and that for its view and the features of its outputs.
    let row = r#"{"deployment": "fraud", "rows": [{"card": "c1", "amount": 250, "country": "FR"}], "as_of": "2024-03-07T14:40:00Z"}"#;
    assert_eq!(server.post("/v1/score", row).0, 200);
    wait_for("what is used", || view(&json(&server, "/v1/overview")).get("asked_at").map(|_| ()));
    let after = json(&server, "/v1/overview");
    let features = view(&after)["features"].as_array().unwrap().clone();
    let read: Vec<&str> =
        features.iter().filter(|feature| feature.get("asked_at").is_some()).map(|feature| feature["name"].as_str().unwrap()).collect();
    let outputs: Vec<&Value> = features
        .iter()
        .filter(|feature| feature["outputs"].as_array().unwrap().iter().any(|of| of.as_str().unwrap().starts_with("fraud_v1.")))
        .collect();
    assert_eq!(read.len(), outputs.len(), "{read:?}");
    assert!(view(&after)["asked"].as_u64().unwrap() >= 1);
    let deployment = after["deployments"].as_array().unwrap().iter().find(|of| of["name"] == "fraud").unwrap();
    assert_eq!((deployment["asked"].as_u64(), deployment["stages"][0]["runtime"].as_str()), (Some(1), Some("trees")));
    // A restart knows it still.
    server.terminate();
    let server = Server::start(&project);
    assert!(view(&json(&server, "/v1/overview")).get("asked_at").is_some());
}

#[test]
fn what_values_came_from_is_what_the_verb_says() {
    let project = Project::new();
    let server = Server::start(&project);
    let mut said = json(&server, &format!("/v1/explain/card_activity?card=c1&_as_of={AT}"));
    let got = project.run(&["get", "card_activity", "card=c1", "--as-of", AT, "--explain", "--json"]);
    let got: Value = serde_json::from_str(&got.out).unwrap();
    assert_eq!(said["explained"], got["explained"]);
    let mut features = json(&server, &format!("/v1/features/card_activity?card=c1&_as_of={AT}"));
    // Of the moment of asking: right after the beginning no log has been seen at its end.
    for answer in [&mut said["answer"], &mut features] {
        answer["features"].as_array_mut().unwrap().iter_mut().for_each(|feature| drop(feature.as_object_mut().unwrap().remove("stale")));
    }
    assert_eq!(said["answer"]["features"], features["features"]);
    assert_eq!(server.get("/v1/explain/card_activty?card=c1").0, 404);
    assert_eq!(server.get("/v1/explain/card_activity?crad=c1").0, 400);
}

#[test]
fn people_find_their_way_without_a_mouse() {
    let Some(browser) = Browser::start() else { return };
    let project = crate::scoring::project();
    let server = Server::start(&project);
    browser.go(&server.url());
    browser.wait("document.querySelector('#serving').textContent.includes('definitions 1')");
    browser.wait("document.body.innerText.includes('Nothing is wrong')");
    browser.wait("[...document.querySelectorAll('td')].some(cell => cell.textContent === 'payments')");

    // By Tab and Enter alone: to the last part, into the form, and to an answer.
    browser.tab_to("e.hash === '#lookup'");
    browser.press(ENTER);
    browser.wait("document.querySelector('h1').textContent === 'Look up'");
    browser.tab_to("e.name === '_target'");
    browser.press("card");
    browser.wait("document.querySelector('input[name=card]')");
    browser.tab_to("e.name === 'card'");
    browser.press("c1");
    browser.tab_to("e.name === '_as_of'");
    browser.press(AT);
    browser.press(ENTER);
    browser.wait("document.body.innerText.includes('What it came from')");
    browser.wait("document.querySelector('caption').textContent.startsWith('as of 2024-03-08 12:00:00, by the event time')");
    let features = json(&server, &format!("/v1/features/card_activity?card=c1&_as_of={AT}"));
    let shown = browser.value("[...document.querySelectorAll('tbody tr')].map(row => [...row.cells].slice(0, 3).map(cell => cell.innerText.trim()))");
    for (feature, row) in features["features"].as_array().unwrap().iter().zip(shown.as_array().unwrap()) {
        assert_eq!(row[0], feature["name"]);
        let value = if feature["values"][0].is_null() { "NULL".to_owned() } else { feature["values"][0].to_string().trim_matches('"').to_owned() };
        assert_eq!((row[1].as_str().unwrap(), &row[2]), (value.as_str(), &feature["statuses"][0]));
    }
    assert_eq!(shown.as_array().unwrap().len(), features["features"].as_array().unwrap().len());

    lineage(&browser);
    every_part_reads_in_light_and_dark(&browser, &server);
    // Everything came from the server itself, and nothing was complained of.
    let origins = browser.value("[...new Set(performance.getEntriesByType('resource').map(of => new URL(of.name).origin))]");
    assert_eq!(origins, serde_json::json!([server.url()]));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// What an entry is made of, and what is made of it, is told apart from the rest.
fn lineage(browser: &Browser) {
    browser.tab_to("e.hash === '#lineage'");
    browser.press(ENTER);
    browser.wait("document.querySelector('.lineage button')");
    browser.tab_to("e.textContent === 'amounts' && e.tagName === 'BUTTON'");
    browser.press(ENTER);
    let on = browser.value("[...document.querySelectorAll('.lineage button.on')].map(button => button.textContent).sort()");
    assert_eq!(on, serde_json::json!(["amounts", "careful", "fraud_simple"]));
    assert_eq!(browser.value("document.querySelectorAll('.lineage path.on').length"), 2);
    browser.wait("document.querySelector('pre').textContent.startsWith('CREATE FEATURE SERVICE amounts')");
}

/// Text stands out from its ground by what people need who see little (WCAG 2: 4.5 to 1), and nothing is wider than the window.
fn every_part_reads_in_light_and_dark(browser: &Browser, server: &Server) {
    let mut grounds = Vec::new();
    for is_dark in [false, true] {
        browser.dark(is_dark);
        for part in ["now", "features", "lineage", "releases", "lookup"] {
            browser.go(&format!("{}/#{part}", server.url()));
            browser.wait(&format!("document.title === 'Lockstep: {part}' && document.querySelector('h1')"));
            let faint = browser.faint();
            assert_eq!(faint, serde_json::json!([]), "{part}, dark: {is_dark}");
            assert_eq!(browser.value("document.documentElement.scrollWidth <= innerWidth"), true, "{part}");
            let unnamed = browser.value("[...document.querySelectorAll('svg[role=img]')].filter(of => !of.getAttribute('aria-label')).length");
            assert_eq!(unnamed, 0, "{part}");
        }
        grounds.push(browser.value("getComputedStyle(document.body).backgroundColor"));
        assert!(browser.picture().len() > 10_000);
    }
    assert_ne!(grounds[0], grounds[1]);
}
