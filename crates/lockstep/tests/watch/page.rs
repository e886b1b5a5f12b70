//! What the page shows of what is watched: how complete features are over time, what is served beside what models were trained on, and what is declared beside what is measured.

use std::fs;

use serde_json::json;

use crate::browser::{Browser, ENTER};
use crate::project::wait_for;
use crate::skew::{amount_of, amounts, score, trained_of};
use crate::watched::{edit, get, now, push, serve, signals};

#[test]
fn features_have_their_statuses_over_time_and_their_training_beside_them() {
    let Some(browser) = Browser::start() else { return };
    let project = trained_of(|project| {
        let declared = "event_time = 'paid_at', available_at = 'paid_at', serving_lag = '2 seconds',";
        edit(project, "feature_defs/payments.sql", "event_time = 'paid_at',", declared);
    });
    // What is read has been noted for forty days, and nothing was.
    let usage = json!({"since": now() - 40 * 86_400_000_000, "asked": {}});
    fs::write(project.store().join("usage.json"), usage.to_string()).unwrap();
    let server = serve(&project);
    push(&server, 1000, 30);
    score(&server, &amounts(2, 1600));
    wait_for("answers were sampled", || amount_of(&server).filter(|amount| amount["sampled"].as_u64() >= Some(1500)));

    browser.go(&format!("{}/#now", server.url()));
    // What is measured of a source's lag stands beside what it declares.
    let column =
        |title: &str| format!("[...document.querySelectorAll('table')[0].rows[0].cells].findIndex(cell => cell.innerText.trim() === '{title}')");
    browser.wait(&format!("{} > 0 && {} > 0", column("p50"), column("p99")));
    let cell = |title: &str| browser.value(&format!("document.querySelectorAll('table')[0].rows[1].cells[{}].innerText.trim()", column(title)));
    browser.wait(&format!("/s$/.test(document.querySelectorAll('table')[0].rows[1].cells[{}].innerText.trim().split('\\n')[0])", column("p99")));
    assert_eq!(cell("declared"), json!("2.0 s"));

    // By Tab and Enter alone: to the features of the service.
    browser.tab_to("e.hash === '#features'");
    browser.press(ENTER);
    browser.wait("document.querySelector('details[data-name=fraud_v1]')");
    browser.tab_to("e.tagName === 'SUMMARY' && e.parentElement.dataset.name === 'fraud_v1'");
    browser.press(ENTER);
    let of_amount = "document.querySelector('details[data-name=fraud_v1] [data-cell=over-time][data-feature=amount]')";
    browser.wait(&format!("{of_amount}.querySelector('svg polygon.present')"));
    let told = browser.value(&format!("{of_amount}.querySelector('svg').getAttribute('aria-label')"));
    assert!(told.as_str().unwrap().starts_with("fraud_v1.amount by status over the last hours: 100 % real"), "{told}");
    // What is not real is said in words: these cards have never paid before the moment that is asked about.
    let others = |feature: &str| {
        browser.value(&format!("document.querySelector('details[data-name=fraud_v1] [data-cell=others][data-feature={feature}]').innerText"))
    };
    assert_eq!(others("amount"), json!(""));
    let of_spent = get(&server, "/v1/watch")["reading"]["targets"]["fraud_v1"]["features"].as_array().unwrap().clone();
    let spent = of_spent.iter().find(|feature| feature["feature"] == "spent_1h").unwrap();
    assert_eq!(others("spent_1h").as_str().unwrap().is_empty(), spent["coverage"] == json!(1.0), "{spent}");

    // Training and serving, bar beside bar.
    browser.wait("document.querySelectorAll('figure svg.pair rect.training').length > 5 && document.querySelectorAll('figure svg.pair rect.serving').length > 5");
    let drawn = browser.value("[...document.querySelectorAll('figure b')].map(name => name.innerText)");
    assert!(drawn.as_array().unwrap().contains(&json!("fraud_v1.amount")), "{drawn}");
    for is_dark in [false, true] {
        browser.dark(is_dark);
        assert_eq!(browser.faint(), json!([]), "dark: {is_dark}");
        assert_eq!(browser.value("document.documentElement.scrollWidth <= innerWidth"), true);
    }

    // What nobody reads: not what the model takes, which was asked for.
    browser.go(&format!("{}/?again#features", server.url()));
    browser.wait("document.querySelector('details[data-name=card_activity]')");
    browser.tab_to("e.type === 'checkbox'");
    browser.press(" ");
    browser.wait("document.querySelector('details[data-name=card_activity]').innerText.includes('not for 30 days')");
    let unread =
        browser.value("[...document.querySelectorAll('details[data-name=card_activity] [data-cell=coverage]')].map(cell => cell.dataset.feature)");
    assert!(
        unread.as_array().unwrap().contains(&json!("max_amount_7d")) && !unread.as_array().unwrap().contains(&json!("avg_amount_7d")),
        "{unread}"
    );
    // How much room views take, and how often they are fed and asked.
    browser.go(&format!("{}/#now", server.url()));
    browser.wait(
        "['lookups/s', 'events/s', 'state', 'coverage'].every(title => [...document.querySelectorAll('th')].some(cell => cell.innerText === title))",
    );
    assert!(signals(&server).is_empty());
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
