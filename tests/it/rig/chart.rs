//! The tools that check the Helm chart: `tests/rig/chart`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The chart's tools, built.
pub struct Chart {
    bin: PathBuf,
    schemas: PathBuf,
    pub home: PathBuf,
}

impl Chart {
    /// Builds the tools where they are missing; `None` if services are skipped.
    pub fn tools() -> Option<Chart> {
        if super::skipped("the Helm chart's tools") {
            return None;
        }
        let script = super::home().join("chart");
        let say = |argument: &str| {
            let output = Command::new(&script).arg(argument).stdin(Stdio::null()).output();
            let output = output.unwrap_or_else(|e| panic!("{} does not run: {e}", script.display()));
            let (out, err) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(
                output.status.success(),
                "{argument}: {out}{err}\n(ALLUVIA_SKIP_SERVICES=1 skips such tests)"
            );
            out.trim().to_owned()
        };
        say("prepare");
        let home = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/helm/alluvia"));
        Some(Chart { bin: say("bin").into(), schemas: say("schemas").into(), home })
    }

    /// The folder of the tools.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// The folder with the definitions of the custom resources that the chart may make.
    pub fn definitions(&self) -> PathBuf {
        self.schemas.join("crds")
    }

    /// Runs a tool in the chart's folder; panics with its words if it fails.
    pub fn run(&self, tool: &str, arguments: &[&str]) -> String {
        let output = self.output(tool, arguments, None);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{tool} {arguments:?}: {text}{error}");
        text
    }

    fn output(&self, tool: &str, arguments: &[&str], input: Option<&Path>) -> Output {
        let mut command = Command::new(self.bin.join(tool));
        command.args(arguments).current_dir(&self.home);
        match input {
            None => command.stdin(Stdio::null()),
            Some(file) => command.stdin(std::fs::File::open(file).expect("the rendered chart is there")),
        };
        command.output().unwrap_or_else(|e| panic!("{tool} does not run: {e}"))
    }

    /// The chart rendered for a version of Kubernetes with these values.
    pub fn render(&self, kubernetes: &str, values: &Path, only: Option<&str>) -> String {
        let values = values.to_str().expect("the path is text");
        let mut arguments =
            vec!["template", "events", ".", "-n", "lake", "--kube-version", kubernetes, "-f", values];
        if let Some(only) = only {
            arguments.extend(["--show-only", only]);
        }
        self.run("helm", &arguments)
    }

    /// Checks rendered objects against the schemas of a version of Kubernetes; unknown keys are errors.
    pub fn conforms(&self, kubernetes: &str, rendered: &str) {
        let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        std::fs::write(file.path(), rendered).expect("it can be written");
        let at = |pattern: &str| format!("{}/{pattern}", self.schemas.display());
        let core = at(
            "{{ .NormalizedKubernetesVersion }}-standalone{{ .StrictSuffix }}/{{ .ResourceKind }}{{ .KindSuffix }}.json",
        );
        let custom = at("{{ .ResourceKind }}{{ .KindSuffix }}.json");
        let arguments = [
            "-strict",
            "-summary",
            "-kubernetes-version",
            kubernetes,
            "-schema-location",
            &core,
            "-schema-location",
            &custom,
        ];
        let output = self.output("kubeconform", &arguments, Some(file.path()));
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("Invalid: 0, Errors: 0, Skipped: 0"), "{text}");
    }
}
