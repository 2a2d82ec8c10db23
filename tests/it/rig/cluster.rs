//! A real Kubernetes API server (`tests/rig/cluster`), and what a kubelet would do for the chart's pod.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::chart::Chart;
use super::image::{Container, Mount};
use super::{child, until};

const START_BOUND: Duration = Duration::from_secs(180);

/// An API server without controllers: objects are checked and kept, and no pod ever runs.
pub struct Cluster {
    home: PathBuf,
    pub chart: Chart,
}

impl Cluster {
    /// The one that all tests of this binary share, with the custom resources that the chart may make; `None` if services
    /// are skipped.
    pub fn shared() -> Option<&'static Cluster> {
        static SHARED: OnceLock<Mutex<Option<&'static Cluster>>> = OnceLock::new();
        let chart = Chart::tools()?;
        let mut shared = SHARED.get_or_init(Mutex::default).lock().unwrap_or_else(|e| e.into_inner());
        Some(*shared.get_or_insert_with(|| Box::leak(Box::new(Cluster::start(chart)))))
    }

    fn start(chart: Chart) -> Cluster {
        let home = super::broker::own_folder().join("cluster");
        let mut command = Command::new(super::home().join("cluster"));
        command.arg("run").arg(&home).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        let mut process = child::spawn(command).expect("tests/rig/cluster starts; it needs python3");
        until("an API server", START_BOUND, || {
            let ended = process.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "tests/rig/cluster has ended; its words are above");
            home.join("kubeconfig").exists().then_some(())
        });
        let definitions = chart.definitions().display().to_string();
        let cluster = Cluster { home, chart };
        cluster.kubectl(&["apply", "--server-side", "-f", &definitions], "");
        cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"], "");
        cluster
    }

    /// A namespace in which Pod Security refuses and warns of every pod that is not `restricted`.
    pub fn restricted(&self, name: &str) {
        self.kubectl(&["create", "namespace", name], "");
        let levels = ["enforce", "warn"].map(|mode| format!("pod-security.kubernetes.io/{mode}=restricted"));
        self.kubectl(&["label", "namespace", name, &levels[0], &levels[1]], "");
    }

    /// What a tool of the chart says, warnings too; panics with it if it fails.
    pub fn run(&self, tool: &str, arguments: &[&str], input: &str) -> String {
        let (well, said) = self.ask(tool, arguments, input);
        assert!(well, "{tool} {arguments:?}: {said}");
        said
    }

    /// Whether a tool succeeds, and what it says.
    pub fn ask(&self, tool: &str, arguments: &[&str], input: &str) -> (bool, String) {
        let output = self.output(tool, arguments, input);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    }

    pub fn kubectl(&self, arguments: &[&str], input: &str) -> String {
        self.run("kubectl", arguments, input)
    }

    /// An object as JSON.
    pub fn get(&self, namespace: &str, kind: &str, name: &str) -> Value {
        self.json(&["-n", namespace, "get", kind, name, "-o", "json"], "")
    }

    /// What `kubectl` prints as JSON.
    pub fn json(&self, arguments: &[&str], input: &str) -> Value {
        let output = self.output("kubectl", arguments, input);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {arguments:?}: {error}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("kubectl {arguments:?}: {e}"))
    }

    fn output(&self, tool: &str, arguments: &[&str], input: &str) -> Output {
        let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        std::fs::write(file.path(), input).expect("it can be written");
        let mut command = self.command(tool);
        command.args(arguments).stdin(std::fs::File::open(file.path()).expect("it can be read"));
        command.output().unwrap_or_else(|e| panic!("{tool} does not run: {e}"))
    }

    /// A tool of the chart for this cluster, in the chart's folder.
    fn command(&self, tool: &str) -> Command {
        let mut command = Command::new(self.chart.bin().join(tool));
        command.current_dir(&self.chart.home).envs(self.environment());
        command
    }

    /// What a shell needs in which `helm` and `kubectl` are this cluster's.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let path = std::env::var("PATH").unwrap_or_default();
        let helm = |folder: &str| self.home.join("helm").join(folder).display().to_string();
        vec![
            ("PATH", format!("{}:{path}", self.chart.bin().display())),
            ("KUBECONFIG", self.home.join("kubeconfig").display().to_string()),
            ("HELM_CONFIG_HOME", helm("config")),
            ("HELM_DATA_HOME", helm("data")),
            ("HELM_CACHE_HOME", helm("cache")),
        ]
    }

    /// The pod that the controller would make of a StatefulSet, its first.
    pub fn pod_of(set: &Value) -> Value {
        let template = &set["spec"]["template"];
        let name = format!("{}-0", set["metadata"]["name"].as_str().expect("an object has a name"));
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"],
        });
        pod["metadata"]["name"] = name.as_str().into();
        let volumes = pod["spec"]["volumes"].as_array_mut().expect("the chart's pod has volumes");
        for claim in set["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten() {
            let claim = claim["metadata"]["name"].as_str().expect("an object has a name");
            let named = format!("{claim}-{name}");
            volumes.push(json!({ "name": claim, "persistentVolumeClaim": { "claimName": named } }));
        }
        pod
    }

    /// What a kubelet gives to the pod's container, from the objects that the API server holds. Volumes are folders below
    /// `folder`; those of a claim keep what is in them.
    pub fn container(&self, namespace: &str, pod: &Value, folder: &Path) -> Container {
        let texts = |list: &Value| -> Vec<String> {
            let list = list.as_array().into_iter().flatten();
            list.map(|text| text.as_str().expect("a text").to_owned()).collect()
        };
        let spec = &pod["spec"]["containers"][0];
        let mut container = Container { arguments: texts(&spec["args"]), ..Container::default() };
        for source in spec["envFrom"].as_array().into_iter().flatten() {
            let name = source["secretRef"]["name"].as_str().expect("the chart's envFrom names secrets");
            container.environment.extend(self.secret(namespace, name));
        }
        for variable in spec["env"].as_array().into_iter().flatten() {
            let text = |value: &Value| value.as_str().expect("a text").to_owned();
            let mut value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
                Some("metadata.namespace") => namespace.to_owned(),
                Some(other) => panic!("the chart's pod asks for {other}"),
                None => text(&variable["value"]),
            };
            for (name, before) in &container.environment {
                value = value.replace(&format!("$({name})"), before);
            }
            container.environment.push((text(&variable["name"]), value));
        }
        for mount in spec["volumeMounts"].as_array().into_iter().flatten() {
            let (name, at) =
                (mount["name"].as_str().expect("a name"), mount["mountPath"].as_str().expect("a path"));
            let volumes = pod["spec"]["volumes"].as_array().expect("the chart's pod has volumes");
            let volume =
                volumes.iter().find(|volume| volume["name"] == name).expect("a mount has its volume");
            let host = folder.join(name);
            let files = if let Some(map) = volume["configMap"]["name"].as_str() {
                let data = self.get(namespace, "configmap", map)["data"].clone();
                let data = data.as_object().expect("a map").clone();
                data.into_iter().map(|(key, text)| (key, text.as_str().expect("a text").to_owned())).collect()
            } else if let Some(secret) = volume["secret"]["secretName"].as_str() {
                self.secret(namespace, secret)
            } else {
                container.writable(at, &host);
                continue;
            };
            assert_eq!(mount["readOnly"], true, "{mount}");
            let _ = std::fs::remove_dir_all(&host);
            std::fs::create_dir_all(&host).expect("a folder can be made");
            for (key, text) in files {
                std::fs::write(host.join(key), text).expect("a file can be written");
            }
            container.mounts.push(Mount { at: at.to_owned(), host, read_only: true });
        }
        container
    }

    fn secret(&self, namespace: &str, name: &str) -> Vec<(String, String)> {
        let secret = self.get(namespace, "secret", name);
        let data = secret["data"].as_object().expect("a secret has data");
        let decoded = |value: &Value| {
            let bytes = STANDARD.decode(value.as_str().expect("a text")).expect("base64");
            String::from_utf8(bytes).expect("secrets of tests are text")
        };
        data.iter().map(|(key, value)| (key.clone(), decoded(value))).collect()
    }
}
