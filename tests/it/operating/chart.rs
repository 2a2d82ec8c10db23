//! The Helm chart: linted, tested, checked against Kubernetes' schemas; its configuration starts the real program; its
//! alerts and its dashboard name metrics that exist.

use std::collections::BTreeSet;
use std::time::Duration;

use regex::Regex;
use serde_json::Value;

use crate::rig::chart::Chart;
use crate::rig::http::get;
use crate::rig::prometheus::promtool;
use crate::rig::{Alluvia, Broker, Message, until};

const BOUND: Duration = Duration::from_secs(60);
/// The oldest and the newest Kubernetes that the chart claims.
pub const KUBERNETES: [&str; 2] = ["1.29.0", "1.37.0"];
pub const VALUES: [&str; 5] = [
    "ci/minimal-values.yaml",
    "ci/full-values.yaml",
    "ci/keda-values.yaml",
    "ci/schedule-values.yaml",
    "ci/text-values.yaml",
];

fn read(path: &str) -> String {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn the_chart_passes_lint_and_its_unit_tests() {
    let Some(chart) = Chart::tools() else { return };
    for values in VALUES {
        chart.run("helm", &["lint", "--strict", ".", "-f", values]);
    }
    let said = chart.run("helm-unittest", &["."]);
    let some = Regex::new(r"Tests: +[1-9]\d* passed, [1-9]\d* total").unwrap();
    assert!(some.is_match(&said), "{said}");
}

#[test]
fn what_the_chart_makes_is_valid_in_the_oldest_and_the_newest_kubernetes() {
    let Some(chart) = Chart::tools() else { return };
    for version in KUBERNETES {
        for values in VALUES {
            chart.conforms(version, &chart.render(version, &chart.home.join(values), None));
        }
    }
}

#[test]
fn the_page_of_the_chart_is_made_from_its_values() {
    let Some(chart) = Chart::tools() else { return };
    let page = chart.run("helm-docs", &["--dry-run", "--skip-version-footer"]);
    let undescribed: Vec<&str> =
        page.lines().filter(|line| line.starts_with('|') && line.ends_with("|  |")).collect();
    assert!(undescribed.is_empty(), "{undescribed:?}");
    assert_eq!(
        page.trim(),
        read("helm/alluvia/README.md").trim(),
        "write it again: helm-docs --skip-version-footer in helm/alluvia"
    );
}

#[test]
fn the_chart_is_of_this_version() {
    let version = format!("appVersion: \"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(read("helm/alluvia/Chart.yaml").contains(&version), "{version}");
}

/// The arguments and the configuration of the rendered pod run the real program.
#[test]
fn the_rendered_pod_starts_the_program() {
    let Some(chart) = Chart::tools() else { return };
    let Some(broker) = Broker::shared() else { return };
    let (topic, folder) = (broker.topic("chart", 1), tempfile::tempdir().unwrap());
    broker.produce(&topic, (0..100).map(|id: i32| Message::new(format!("{{\"id\":{id}}}")).partition(0)));
    let values = folder.path().join("values.yaml");
    let data = folder.path().join("data");
    let config = format!(
        "config: |
  # A name that Helm's YAML would make a boolean of.
  streams:
    - name: y
      source:
        format: kafka
        options: {{ kafka.bootstrap.servers: '{}', subscribe: '{topic}', startingOffsets: earliest }}
        value: {{ format: json, schema: 'id INT' }}
      sink: {{ format: delta, path: '{data}/orders' }}
      checkpointLocation: '{data}/checkpoint'
persistence: {{ enabled: true, mountPath: '{data}' }}
",
        broker.bootstrap(),
        data = data.display(),
    );
    std::fs::write(&values, config).unwrap();
    let map = chart.render(KUBERNETES[1], &values, Some("templates/config.yaml"));
    let (_, text) = map.split_once("streams.yaml: |\n").unwrap();
    let file: String =
        text.lines().map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line))).collect();
    std::fs::write(folder.path().join("streams.yaml"), file).unwrap();

    let pod = chart.render(KUBERNETES[1], &values, Some("templates/statefulset.yaml"));
    let arguments: Vec<String> = pod
        .lines()
        .skip_while(|line| line.trim() != "args:")
        .skip(1)
        .map_while(|line| line.trim().strip_prefix("- "))
        .map(|argument| match argument {
            "/etc/alluvia/streams.yaml" => "streams.yaml".to_owned(),
            listen if listen.starts_with("--listen=") => "--listen=127.0.0.1:0".to_owned(),
            other => other.to_owned(),
        })
        .collect();
    assert_eq!(arguments.len(), 4, "{arguments:?}");
    let named = Regex::new(r"- name: (ALLUVIA_[A-Z_]+)\n\s+value: (.*)\n").unwrap();
    let environment: Vec<(String, String)> = named
        .captures_iter(&pod)
        .map(|found| (found[1].to_owned(), found[2].trim_matches('"').to_owned()))
        .collect();
    assert!(environment.iter().any(|(name, _)| name == "ALLUVIA_MEMORY_LIMIT"), "{environment:?}");
    let environment: Vec<(&str, &str)> = environment.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let program = Alluvia::start(&arguments, folder.path(), &environment);
    let line = program.wait_for("the observe listener is ready", BOUND);
    let line: Value = serde_json::from_str(&line).unwrap();
    let address = line["address"].as_str().unwrap().to_owned();
    until("readiness", BOUND, || (get(&address, "/readyz").status == 200).then_some(()));
    until("the rows", BOUND, || {
        let stream = get(&address, "/api/v1/streams/y").json();
        (stream["totals"]["outputRows"] == 100).then_some(())
    });
    assert_eq!(get(&address, "/livez").status, 200);
    program.terminate();
    assert_eq!(program.wait(BOUND).code(), 0);
}

#[test]
fn the_alerts_fire_when_they_should_and_each_has_its_section_in_the_runbook() {
    let rules = "helm/alluvia/files/alerts.yaml";
    let path = |file: &str| format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
    promtool(&["check", "rules", "--lint-fatal", &path(rules)], "");
    promtool(&["test", "rules", &path("helm/alluvia/files/alerts_test.yaml")], "");
    if let Some(chart) = Chart::tools() {
        the_chart_carries_the_rules_that_are_tested(&chart);
    }
    let (text, runbook) = (read(rules), read("docs/operating/runbook.md"));
    let alerts = Regex::new(r"alert: (\w+)").unwrap();
    let mut count = 0;
    for found in alerts.captures_iter(&text) {
        assert!(runbook.contains(&format!("\n## {}\n", &found[1])), "no section for {}", &found[1]);
        assert!(text.contains(&format!("RUNBOOK_URL#{}\"", found[1].to_lowercase())), "{}", &found[1]);
        count += 1;
    }
    assert_eq!(runbook.matches("\n## Alluvia").count(), count);
}

/// The rules of a rendered release pass the same tests, under the names of the release.
fn the_chart_carries_the_rules_that_are_tested(chart: &Chart) {
    let values = chart.home.join("ci/full-values.yaml");
    let rule = chart.render(KUBERNETES[1], &values, Some("templates/prometheusrule.yaml"));
    let (_, spec) = rule.split_once("\nspec:\n").unwrap();
    let spec: String =
        spec.lines().map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line))).collect();
    let tests = read("helm/alluvia/files/alerts_test.yaml")
        .replace("RUNBOOK_URL", "https://wiki.example/runbook")
        .replace("NAMESPACE", "lake")
        .replace("STATEFULSET", "events-alluvia");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("alerts.yaml"), spec).unwrap();
    let file = folder.path().join("alerts_test.yaml");
    std::fs::write(&file, tests).unwrap();
    promtool(&["test", "rules", file.to_str().unwrap()], "");
}

/// Names of Alluvia's metrics in a text, without the suffixes that a histogram adds.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let name = Regex::new(r"\balluvia_[a-z_]+").unwrap();
    let plain = |name: &str| {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        base.unwrap_or(name).to_owned()
    };
    name.find_iter(text).map(|found| plain(found.as_str())).collect()
}

#[test]
fn alerts_and_dashboard_name_metrics_that_exist() {
    let known = metrics_in(&read("docs/reference/metrics.md"));
    assert!(known.len() > 20, "{known:?}");
    for file in
        ["helm/alluvia/files/alerts.yaml", "helm/alluvia/files/dashboard.json", "docs/operating/runbook.md"]
    {
        let unknown: Vec<String> = metrics_in(&read(file)).difference(&known).cloned().collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

#[test]
fn the_dashboard_is_whole() {
    let dashboard: Value = serde_json::from_str(&read("helm/alluvia/files/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "ids are unique");
    let area = |panel: &Value, key: &str| panel["gridPos"][key].as_u64().unwrap();
    for (number, panel) in panels.iter().enumerate() {
        assert!(area(panel, "x") + area(panel, "w") <= 24, "{panel}");
        for other in &panels[..number] {
            let apart = |at: &str, size: &str| {
                area(panel, at) + area(panel, size) <= area(other, at)
                    || area(other, at) + area(other, size) <= area(panel, at)
            };
            assert!(apart("x", "w") || apart("y", "h"), "{} lies over {}", panel["title"], other["title"]);
        }
        if panel["type"] != "row" {
            assert!(!panel["description"].as_str().unwrap().is_empty(), "{panel}");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
            assert!(!panel["targets"].as_array().unwrap().is_empty(), "{panel}");
        }
    }
}
