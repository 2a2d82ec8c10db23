//! The chart on a real Kubernetes API server, and `docs/operating/install.md` followed word for word to a running stream.
//!
//! No pod ever runs there: where one is needed, the test does what a kubelet would, with the objects that the server holds,
//! and the image of the Dockerfile. `make test-cluster` builds the server and runs these.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use regex::Regex;
use serde_json::Value;

use crate::operating::chart::{KUBERNETES, VALUES};
use crate::rig::http::get;
use crate::rig::image::Image;
use crate::rig::{Alluvia, Broker, Cluster, Message, delta_digest, until};

const BOUND: Duration = Duration::from_secs(60);
/// The first chart that there was.
const FORMER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/fixtures/charts/alluvia-0.1.0-first.tgz");

#[test]
#[ignore = "builds an API server, minutes: make test-cluster"]
fn a_restricted_namespace_takes_all_that_the_chart_makes() {
    let Some(cluster) = Cluster::shared() else { return };
    cluster.restricted("dry");
    // What the values name, and the cluster has to have.
    cluster.kubectl(&["create", "priorityclass", "streaming", "--value=1000"], "");
    let apply = ["-n", "dry", "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"];
    let mut kinds = BTreeSet::new();
    let mut pod = Value::Null;
    for values in VALUES {
        let rendered = cluster.chart.render(KUBERNETES[1], &cluster.chart.home.join(values), None);
        let rendered = rendered.replace("namespace: lake", "namespace: dry");
        let said = cluster.kubectl(&apply, &rendered);
        assert!(!said.contains("Warning"), "{values}: {said}");
        let made = cluster.json(&[&apply[..], &["-o", "json"]].concat(), &rendered);
        for object in made["items"].as_array().unwrap() {
            kinds.insert(object["kind"].as_str().unwrap().to_owned());
            if object["kind"] == "StatefulSet" {
                pod = Cluster::pod_of(object);
                cluster.kubectl(&apply, &pod.to_string());
            }
        }
    }
    let all = [
        "ConfigMap",
        "CronJob",
        "NetworkPolicy",
        "PersistentVolumeClaim",
        "Pod",
        "PodDisruptionBudget",
        "PrometheusRule",
        "ScaledObject",
        "Service",
        "ServiceAccount",
        "ServiceMonitor",
        "StatefulSet",
    ];
    assert_eq!(kinds, all.map(str::to_owned).into());

    // The server does look: without one line of the security context a new pod is refused.
    let mut wrong = pod.clone();
    wrong["spec"]["containers"][0]["securityContext"]["capabilities"] = Value::Null;
    let (well, said) = cluster.ask("kubectl", &apply, &wrong.to_string());
    assert!(!well && said.contains("violates PodSecurity \"restricted"), "{said}");
    wrong["spec"]["containers"][0]["readinessProbe"]["httpGet"]["port"] = 99_999.into();
    let (well, said) = cluster.ask("kubectl", &apply, &wrong.to_string());
    assert!(!well && said.contains("must be between 1 and 65535"), "{said}");

    // The runbook's copy of a pod that crashes, for any command.
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operating/runbook.md");
    let page = std::fs::read_to_string(page).unwrap().replace("-n lake", "-n dry");
    let line = page.lines().find(|line| line.starts_with("kubectl -n dry debug ")).unwrap();
    cluster.kubectl(&["-n", "dry", "apply", "-f", "-"], &pod.to_string());
    cluster.kubectl(&line.split(' ').skip(1).collect::<Vec<_>>(), "");
    let copy = cluster.get("dry", "pod", "events-tool");
    let command = ["alluvia", "checkpoint", "show", "/etc/alluvia/streams.yaml"];
    assert_eq!(copy["spec"]["containers"][0]["command"], Value::from(command.to_vec()));
}

#[test]
#[ignore = "builds an API server, minutes: make test-cluster"]
fn the_former_chart_is_upgraded_rolled_back_and_removed() {
    let Some(cluster) = Cluster::shared() else { return };
    cluster.restricted("former");
    let helm = |arguments: &[&str]| cluster.run("helm", &[&["-n", "former"], arguments].concat(), "");
    let set = || cluster.get("former", "statefulset", "events-alluvia");
    let values = ["-f", "ci/full-values.yaml"];
    helm(&[&["install", "events", FORMER], &values[..]].concat());
    let first = set();
    // Kubernetes can't change how a StatefulSet manages its pods: the changelog says what to do. Without a garbage collector
    // `--cascade=orphan` would not end here.
    let upgrade = [&["-n", "former", "upgrade", "events", "."], &values[..]].concat();
    let (well, said) = cluster.ask("helm", &upgrade, "");
    assert!(
        !well && said.contains("spec.podManagementPolicy") && said.contains("field is immutable"),
        "{said}"
    );
    cluster.kubectl(&["-n", "former", "delete", "statefulset", "events-alluvia", "--cascade=background"], "");
    cluster.run("helm", &upgrade, "");
    let second = set();
    for kept in ["selector", "serviceName", "volumeClaimTemplates"] {
        assert_eq!(first["spec"][kept], second["spec"][kept], "{kept}");
    }
    let config = |set: &Value| set["spec"]["template"]["metadata"]["annotations"]["checksum/config"].clone();
    assert_eq!(config(&first), config(&second), "an unchanged configuration rolls no pod");
    helm(&[&["upgrade", "events", "."], &values[..], &["--set", "config.streams[0].maxOffsets=1"]].concat());
    assert_ne!(config(&second), config(&set()));

    // What Kubernetes can't change is refused, and nothing is changed by it.
    let smaller =
        [&["-n", "former", "upgrade", "events", "."], &values[..], &["--set", "persistence.size=1Gi"]]
            .concat();
    let (well, said) = cluster.ask("helm", &smaller, "");
    assert!(!well && said.contains("field is immutable"), "{said}");
    helm(&["rollback", "events", "3"]);
    let back = set();
    assert_eq!(back["spec"]["template"]["spec"], second["spec"]["template"]["spec"]);
    assert_eq!(config(&back), config(&second));

    helm(&["uninstall", "events"]);
    let left = cluster.kubectl(
        &["-n", "former", "get", "all,configmap,serviceaccount,networkpolicy,pdb", "-o", "name"],
        "",
    );
    assert!(!left.contains("events"), "{left}");
}

/// A line of a shell that is not run as it stands here, and why.
enum Line {
    /// No Docker: buildah makes the same image of the same Dockerfile.
    Image {
        tag: String,
    },
    /// No kubelet: the pod's program is on this machine as it is.
    PortForward {
        set: String,
    },
    /// Nor does one run the pod of the release's test: this machine does.
    Check {
        release: String,
    },
    Shell,
}

fn kind_of(line: &str) -> Line {
    let image = Regex::new(r"^docker buildx build --platform linux/amd64 .* -t (\S+) --push \.$").unwrap();
    let forward = Regex::new(r"^kubectl -n lake port-forward statefulset/(\S+) 9464 ").unwrap();
    let check = Regex::new(r"^helm test (\S+) -n lake --logs$").unwrap();
    if let Some(found) = image.captures(line) {
        return Line::Image { tag: found[1].to_owned() };
    }
    if let Some(found) = check.captures(line) {
        return Line::Check { release: found[1].to_owned() };
    }
    match forward.captures(line) {
        Some(found) => Line::PortForward { set: found[1].to_owned() },
        None => Line::Shell,
    }
}

/// The code blocks of a page in a language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let opened = format!("```{language}\n");
    page.split(&opened).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The pod of the release on this machine.
struct Pod<'a> {
    cluster: &'a Cluster,
    image: &'a Image,
    folder: &'a Path,
    port: u16,
}

impl Pod<'_> {
    /// Starts it from the objects of the API server, as a kubelet would; returns when its readiness probe is content.
    fn start(&self) -> Alluvia {
        let pod = Cluster::pod_of(&self.cluster.get("lake", "statefulset", "events-alluvia"));
        let spec = &pod["spec"]["containers"][0];
        assert_eq!(spec["image"], self.image.facts["name"]);
        let program = self.image.start(&self.cluster.container("lake", &pod, self.folder));
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let (path, port) = (&spec[probe]["httpGet"]["path"], &spec[probe]["httpGet"]["port"]);
            let ports = spec["ports"].as_array().unwrap();
            let port = &ports.iter().find(|named| named["name"] == *port).unwrap()["containerPort"];
            assert_eq!(*port, self.port);
            program.wait_for("the observe listener is ready", BOUND);
            until(probe, BOUND, || {
                (get(&self.address(), path.as_str().unwrap()).status == 200).then_some(())
            });
        }
        program
    }

    /// Runs the pod of `helm test` beside this one, on the same data; returns what it says.
    fn check(&self, release: &str) -> String {
        let hooks = self.cluster.run("helm", &["-n", "lake", "get", "hooks", release], "");
        let apply = ["-n", "lake", "apply", "--dry-run=server", "-f", "-", "-o", "json"];
        let pod = self.cluster.json(&apply, &hooks);
        let scratch = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(self.folder.join("data"), scratch.path().join("data")).unwrap();
        let container = self.cluster.container("lake", &pod, scratch.path());
        self.image.start(&container).wait(BOUND).success().stdout
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn rows(&self, wanted: u64) {
        until("the rows", BOUND, || {
            let stream = get(&self.address(), "/api/v1/streams/device_events").json();
            (stream["lag"] == 0).then_some(())?;
            (delta_digest(&self.folder.join("data/lake/device_events"), &["event_id"]).rows == wanted)
                .then_some(())
        });
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
#[ignore = "builds an API server, minutes: make test-cluster"]
fn the_install_page_leads_from_an_empty_server_to_a_running_stream() {
    let Some(cluster) = Cluster::shared() else { return };
    let Some(broker) = Broker::shared() else { return };
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operating/install.md")).unwrap();
    // What stands for a reader's own names on the page, which is followed without a storage account.
    let own = |text: &str| {
        text.replace("REGISTRY", "localhost")
            .replace("abfss://lake@ACCOUNT.dfs.core.windows.net", "/data/lake")
            .replace(
                "workloadIdentity: { enabled: true, clientId: CLIENT_ID }",
                "persistence: { enabled: true, size: 50Gi }",
            )
            .replace("kafka:9093", broker.fact("/bootstrap/eventhubs"))
            .replace("USER", "$ConnectionString")
            .replace("PASSWORD", broker.fact("/eventhubs/password"))
    };
    let scratch = tempfile::tempdir().unwrap();
    let (folder, volumes) = (scratch.path().join("checkout"), scratch.path().join("volumes"));
    std::fs::create_dir(&folder).unwrap();
    std::os::unix::fs::symlink(concat!(env!("CARGO_MANIFEST_DIR"), "/helm"), folder.join("helm")).unwrap();
    std::fs::copy(broker.fact("/ca"), folder.join("ca.pem")).unwrap();
    let [streams, values] = blocks(&page, "yaml")[..] else {
        panic!("the page has a stream file and values")
    };
    let port = free_port();
    // A port that is free here, where pods have addresses of their own.
    let values = format!("{}service: {{ port: {port} }}\n", own(values));
    std::fs::write(folder.join("values.yaml"), &values).unwrap();
    let streams = own(streams);
    std::fs::write(folder.join("streams.yaml"), &streams).unwrap();
    broker.create_topic("device-events", 3, &[]);
    let produce = |from: u64, until: u64| {
        let event = |id: u64| {
            let text =
                format!("{{\"event_id\":\"{id}\",\"device\":\"d\",\"event_time\":\"2026-01-01T00:00:00Z\"}}");
            Message::new(text).partition((id % 3) as i32)
        };
        broker.produce("device-events", (from..until).map(event));
    };

    let (mut image, mut program) = (None, None);
    let mut done = Vec::new();
    for line in blocks(&page, "sh").iter().flat_map(|block| block.lines()) {
        let line = own(line);
        match kind_of(&line) {
            Line::Image { tag } => image = Image::build(&tag),
            Line::PortForward { set } => {
                cluster.get("lake", "statefulset", &set);
            }
            Line::Check { release } => {
                let image = image.as_ref().expect("the page makes the image first");
                let said = Pod { cluster, image, folder: &volumes, port }.check(&release);
                assert!(said.contains("lake/events-alluvia") && !said.contains("wrong"), "{said}");
                done.push("check");
            }
            Line::Shell => {
                // Another stop for the running pod, and another limit for the next one.
                if line.starts_with("helm upgrade") {
                    let changed = streams.replace(
                        "startingOffsets: earliest",
                        "startingOffsets: earliest\n        maxOffsetsPerTrigger: 1000",
                    );
                    assert_ne!(changed, streams);
                    std::fs::write(folder.join("streams.yaml"), changed).unwrap();
                }
                let mut shell = Command::new("bash");
                shell
                    .args(["-euo", "pipefail", "-c", &line])
                    .current_dir(&folder)
                    .envs(cluster.environment());
                let ended = shell.output().unwrap();
                let said = String::from_utf8_lossy(&ended.stdout) + String::from_utf8_lossy(&ended.stderr);
                assert!(ended.status.success(), "{line}: {said}");
                assert!(!said.to_lowercase().contains("warning"), "{line}: {said}");
            }
        }
        let pod = image.as_ref().map(|image| Pod { cluster, image, folder: &volumes, port });
        let words: Vec<&str> = line.split(' ').take(2).collect();
        match words[..] {
            ["helm", "install"] => {
                let pod = pod.expect("the page makes the image first");
                program = Some(pod.start());
                produce(0, 3000);
                pod.rows(3000);
                done.push("install");
            }
            ["helm", "upgrade"] => {
                let (pod, former): (_, Alluvia) = (pod.unwrap(), program.take().unwrap());
                former.terminate();
                former.wait(BOUND).success();
                produce(3000, 5000);
                program = Some(pod.start());
                pod.rows(5000);
                done.push("upgrade");
            }
            ["helm", "rollback"] => {
                let (pod, former): (_, Alluvia) = (pod.unwrap(), program.take().unwrap());
                former.terminate();
                former.wait(BOUND).success();
                produce(5000, 6000);
                program = Some(pod.start());
                pod.rows(6000);
                done.push("rollback");
            }
            ["helm", "uninstall"] => {
                let running: Alluvia = program.take().unwrap();
                running.terminate();
                let ended = running.wait(BOUND).success();
                assert!(!ended.stderr.contains(broker.fact("/eventhubs/password")), "{}", ended.stderr);
                done.push("uninstall");
            }
            _ => {}
        }
    }
    assert_eq!(done, ["install", "check", "upgrade", "rollback", "uninstall"]);
    let rows = delta_digest(&volumes.join("data/lake/device_events"), &["event_id"]);
    assert!(rows.same_rows(&crate::rig::digest_of((0..6000).map(|id| [id.to_string()]))), "{rows:?}");
}
