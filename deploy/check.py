#!/usr/bin/env python3
"""What scripts/test-deploy asks of a chart, of dashboards and of a running Prometheus.

  check.py chart CHART                  helm's lint and rendering, Kubernetes' schemas, what pods may, what is refused
  check.py rules DASHBOARD...           the queries of dashboards as a file of rules, for promtool
  check.py live PROMETHEUS FILE...      every query of dashboards and alerts, asked of that Prometheus

`chart` needs the packages helm-python-sdk and kubernetes-validate from PyPI; the others need nothing.
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request

KUBERNETES = ("1.30", "1.34", "1.37")
# Kinds of the Prometheus operator: Kubernetes has no schema for them.
FOREIGN = ("PodMonitor", "PrometheusRule")


def chart(path):
    import helm_python as helm
    import yaml

    problems = []
    rendered = []
    for values in sorted(pathlib.Path(path, "ci").glob("*.yaml")):
        given = yaml.safe_load(values.read_text())
        lint = helm.lint(path, given, strict=True)
        problems += [f"{values.name}: {m['error']}" for m in lint["messages"] if m["severity"] >= 2]
        problems += [f"{values.name}: {error}" for error in lint["errors"]]
        files = helm.Chart.load(path).render(given, name="fsn", namespace="network")
        objects = []
        for name, text in files.items():
            if not name.endswith("NOTES.txt"):
                objects += [o for o in yaml.safe_load_all(text) if o]
        problems += [f"{values.name}: {problem}" for problem in pods(objects)]
        rendered.append((values.stem, objects))
    if not rendered or not all(objects for _, objects in rendered):
        problems.append("nothing was rendered")
    with tempfile.TemporaryDirectory() as work:
        for stem, objects in rendered:
            known = [o for o in objects if o["kind"] not in FOREIGN]
            pathlib.Path(work, f"{stem}.yaml").write_text(yaml.safe_dump_all(known))
        validate = pathlib.Path(sys.executable).with_name("kubernetes-validate")
        for version in KUBERNETES:
            command = [validate, "-k", version, "--strict", "--quiet", *pathlib.Path(work).iterdir()]
            if subprocess.run(command).returncode != 0:
                problems.append(f"Kubernetes {version} would not take it")
        # The check has to notice what is wrong.
        broken = json.loads(json.dumps(next(o for o in rendered[0][1] if o["kind"] == "StatefulSet")))
        broken["spec"]["replicaz"] = 3
        pathlib.Path(work, "broken.yaml").write_text(yaml.safe_dump(broken))
        command = [validate, "-k", KUBERNETES[0], "--strict", "--quiet", f"{work}/broken.yaml"]
        if subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
            problems.append("a misspelt field was not noticed")
    good = yaml.safe_load(pathlib.Path(path, "ci", "coordinators.yaml").read_text())
    for table, key, wrong in (
        ("coordinator", "replicas", 0),
        ("coordinator", "replicaz", 2),
        ("coordinator", "settings", {"database": {"url": "postgres://a:secret@b/c"}}),
        ("coordinator", "database", {"url": "postgres://a:secret@b/c"}),
        ("coordinator", "keys", {"secretName": ""}),
        ("node", "networkId", "short"),
        ("node", "capacity", "much"),
    ):
        given = json.loads(json.dumps(good))
        given.setdefault(table, {})[key] = wrong
        if not helm.lint(path, given, strict=True)["errors"]:
            problems.append(f"{table}.{key} = {wrong!r} was not refused")
    kinds = sorted({o["kind"] for _, objects in rendered for o in objects})
    print(f"chart: {len(rendered)} sets of values, {sum(len(o) for _, o in rendered)} objects of the kinds {', '.join(kinds)}")
    return problems


def pods(objects):
    """No pod of the chart has a right that it does not need."""
    for workload in (o for o in objects if o["kind"] == "StatefulSet"):
        pod = workload["spec"]["template"]["spec"]
        name = workload["metadata"]["name"]
        context = pod["securityContext"]
        if not (context["runAsNonRoot"] and context["seccompProfile"]["type"] == "RuntimeDefault"):
            yield f"{name}: may run as root, or without a filter of system calls"
        if pod["automountServiceAccountToken"]:
            yield f"{name}: has a token for Kubernetes"
        for container in pod["containers"] + pod.get("initContainers", []):
            own = container["securityContext"]
            if own["allowPrivilegeEscalation"] or not own["readOnlyRootFilesystem"] or own["capabilities"] != {"drop": ["ALL"]}:
                yield f"{name}/{container['name']}: has rights that it does not need"
            if "memory" not in container["resources"]["limits"]:
                yield f"{name}/{container['name']}: may take all memory"
            for variable in container.get("env", []):
                if any(word in variable["name"] for word in ("PASSWORD", "TOKEN", "SECRET")) and not variable["name"].endswith("_FILE"):
                    yield f"{name}/{container['name']}: {variable['name']} is a secret in the environment"
        labels = workload["spec"]["selector"]["matchLabels"]
        if not any(o["kind"] == "PodDisruptionBudget" and o["spec"]["selector"]["matchLabels"] == labels for o in objects):
            yield f"{name}: no PodDisruptionBudget"
        if not any(o["kind"] == "NetworkPolicy" and o["spec"]["podSelector"]["matchLabels"] == labels for o in objects):
            yield f"{name}: no NetworkPolicy"


def queries(files):
    """(where, query) of dashboards (.json) and of alerts (.yml); the dashboards' variables stand for everything."""
    for file in map(pathlib.Path, files):
        if file.suffix == ".json":
            for panel in json.loads(file.read_text())["panels"]:
                for target in panel["targets"]:
                    yield f"{file.name}: {panel['title']}", target["expr"].replace("$instance", ".*")
        else:
            # The same subset of YAML as the file is written in: one line, or folded over those that are further in.
            lines = file.read_text().splitlines()
            name = ""
            for at, line in enumerate(lines):
                text = line.strip()
                if text.startswith("- alert: "):
                    name = text.removeprefix("- alert: ")
                if text.startswith("expr: "):
                    query = text.removeprefix("expr: ")
                    if query == ">-":
                        depth = len(line) - len(line.lstrip())
                        rest = lines[at + 1:]
                        end = next(i for i, l in enumerate(rest) if len(l) - len(l.lstrip()) <= depth)
                        query = " ".join(l.strip() for l in rest[:end])
                    yield f"{file.name}: {name}", query


def rules(files):
    groups = [{"record": f"query:{n}", "expr": query} for n, (_, query) in enumerate(queries(files))]
    print(json.dumps({"groups": [{"name": "dashboards", "rules": groups}]}))
    return [] if groups else ["there are no queries"]


def ask(prometheus, query):
    address = f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    try:
        with urllib.request.urlopen(address, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def live(prometheus, *files):
    problems, asked, with_data = [], 0, 0
    for where, query in queries(files):
        answer = ask(prometheus, query)
        asked += 1
        if answer["status"] != "success":
            problems.append(f"{where}: {answer.get('error')}: {query}")
        elif answer["data"]["result"]:
            with_data += 1
        elif ".json" in where and " > " not in query and 'status=~"5.."' not in query:
            # One that compares, or asks for failures, finds nothing while all is well, as alerts do.
            problems.append(f"{where}: no data: {query}")
    print(f"{asked} queries, {with_data} with data")
    return problems


def main():
    what = {"chart": chart, "rules": rules, "live": live}.get(sys.argv[1] if sys.argv[1:] else "")
    if not what:
        sys.exit(__doc__)
    problems = what(sys.argv[2:]) if what is rules else what(*sys.argv[2:])
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
