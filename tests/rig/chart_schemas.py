#!/usr/bin/env python3
"""Makes the JSON schemas that kubeconform checks the rendered chart against: `chart_schemas.py FOLDER`.

Kubernetes' own come from the PyPI wheel kubernetes-validate, whose references are absolute and must be made relative;
those of ServiceMonitor, PrometheusRule and ScaledObject from the Go modules that carry their definitions, which are kept under
`crds` for an API server.
"""
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

VERSIONS = ["1.29", "1.37"]
WHEEL = "kubernetes-validate==1.37.0"
DEFINITIONS = [
    ("github.com/prometheus-operator/prometheus-operator@v0.85.0", "example/prometheus-operator-crd", ["servicemonitors", "prometheusrules"]),
    ("github.com/kedacore/keda/v2@v2.21.0", "config/crd/bases", ["scaledobjects"]),
]


def must(command, **more):
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode != 0:
        sys.exit(f"tests/rig/chart_schemas.py: {' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def kubernetes(folder):
    with tempfile.TemporaryDirectory() as scratch:
        must([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check", "-d", scratch, WHEEL])
        with zipfile.ZipFile(next(Path(scratch).glob("*.whl"))) as wheel:
            for name in wheel.namelist():
                found = re.search(r"/v(\d+\.\d+)\.\d+-local-strict/([^/]+\.json)$", name)
                if not found or found[1] not in VERSIONS:
                    continue
                schema = json.loads(wheel.read(name))
                schema.pop("$id", None)
                target = folder / f"v{found[1]}.0-standalone-strict" / found[2]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(json.dumps(schema).replace("/api/_definitions.json#", "_definitions.json#"))


def closed(schema):
    """The schema, refusing keys that it does not name."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: closed(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        schema.pop("type", None)
        schema["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if "properties" in schema and isinstance(schema["properties"], dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    return schema


def definitions(folder):
    with tempfile.TemporaryDirectory() as scratch:
        must([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", scratch, "PyYAML==6.0.3"])
        sys.path.insert(0, scratch)
        import yaml
    for module, path, names in DEFINITIONS:
        with tempfile.TemporaryDirectory() as scratch:
            home = json.loads(must(["go", "mod", "download", "-json", module], cwd=scratch))["Dir"]
        for name in names:
            file = next(f for f in sorted((Path(home) / path).iterdir()) if f.name.endswith(f"_{name}.yaml"))
            (folder / "crds").mkdir(exist_ok=True)
            (folder / "crds" / f"{name}.yaml").write_text(file.read_text())
            spec = yaml.safe_load(file.read_text())["spec"]
            for version in spec["versions"]:
                schema = closed(version["schema"]["openAPIV3Schema"])
                for base in ("apiVersion", "kind"):
                    schema["properties"].setdefault(base, {"type": "string"})
                schema["properties"]["metadata"] = {"type": "object"}
                target = folder / f"{spec['names']['kind']}-{spec['group'].split('.')[0]}-{version['name']}.json".lower()
                target.write_text(json.dumps(schema))


if __name__ == "__main__":
    home = Path(sys.argv[1])
    home.mkdir(parents=True, exist_ok=True)
    kubernetes(home)
    definitions(home)
    (home / "ready").touch()
