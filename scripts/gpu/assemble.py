"""Runs on a machine with a GPU and without npm, after `npm run bundle:gpu` and a copy of its parts:

    bash assemble.sh                          everything: unpack, look, doctor, models, tests, bench
    bash assemble.sh --only doctor,tests      some of it; what is unpacked already stays
    bash assemble.sh --models base --minutes 4
    bash assemble.sh --provider cpu           the same on the CPU: a rehearsal

Every step has its own time limit, and the next one runs whatever became of it. What was found goes into one JSON,
$OUT/result.json (else result.json beside the parts), rewritten after every step; what the programs printed goes into
log.txt beside it. The exit code is 0 if every step that ran went well. Standard library only.
"""

import argparse
import glob
import hashlib
import io
import json
import os
import platform
import shutil
import signal
import site
import subprocess
import sys
import tarfile
import time
import xml.etree.ElementTree as xml

HERE = os.path.dirname(os.path.abspath(__file__))
STEPS = ["unpack", "machine", "probe", "doctor", "models", "tests", "bench", "profile"]
# What each may take at most, in seconds; bench gets what is left.
LIMITS = {"machine": 60, "probe": 150, "doctor": 60, "models": 240, "tests": 300, "profile": 120}
CUDA_LIBRARIES = {
    "libcuda.so.1": None,
    "libcudart.so": ("13", "12"),
    "libcublas.so": ("13", "12"),
    "libcublasLt.so": ("13", "12"),
    "libcurand.so": ("10",),
    "libcudnn.so": ("9",),
}


class Failed(Exception):
    """A step that did not do what it should; the message says why."""


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


class Parts(io.RawIOBase):
    """The parts of one archive, read as one file."""

    def __init__(self, paths):
        super().__init__()
        self._paths = list(paths)
        self._file = None

    def readable(self):
        return True

    def readinto(self, buffer):
        while self._file is not None or self._paths:
            if self._file is None:
                self._file = open(self._paths.pop(0), "rb")
            count = self._file.readinto(buffer)
            if count:
                return count
            self._file.close()
            self._file = None
        return 0


def library_folders():
    """Where CUDA's libraries may lie, in the order in which they are looked at; only folders that exist."""
    prefixes = [sys.prefix, os.environ.get("VIRTUAL_ENV", ""), os.environ.get("CONDA_PREFIX", "")]
    prefixes += glob.glob("/opt/*/.venv") + ["/usr/local", "/usr"]
    packages = site.getsitepackages() + [site.getusersitepackages()]
    for prefix in filter(None, prefixes):
        packages += sorted(glob.glob(os.path.join(prefix, "lib/python3*/*-packages")))
    patterns = [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    for home in [os.environ.get("CUDA_HOME", ""), "/usr/local/cuda*"]:
        if home:
            patterns += [os.path.join(home, end) for end in ("lib64", "lib", "targets/*-linux/lib")]
    patterns += [os.path.join(folder, "nvidia/*/lib") for folder in packages]
    patterns += ["/usr/local/nvidia/lib64", "/usr/local/nvidia/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib64"]
    patterns += ["/usr/lib/wsl/lib", "/lib/x86_64-linux-gnu"]
    folders = []
    for pattern in patterns:
        for folder in sorted(glob.glob(pattern)):
            real = os.path.realpath(folder)
            if os.path.isdir(real) and real not in folders:
                folders.append(real)
    return folders


def find_cuda():
    """By name, the library's file; and the folders that hold them."""
    folders = library_folders()
    found = {}
    for name, versions in CUDA_LIBRARIES.items():
        files = [name] if versions is None else ["%s.%s" % (name, version) for version in versions]
        candidates = [os.path.join(folder, file) for file in files for folder in folders]
        found[name] = next((path for path in candidates if os.path.exists(path)), None)
    own = []
    for path in filter(None, found.values()):
        if os.path.dirname(path) not in own:
            own.append(os.path.dirname(path))
    return found, own


class Session:
    def __init__(self, options):
        self.options = options
        self.work = os.path.abspath(options.work)
        self.app = os.path.join(self.work, "app")
        self.out = os.environ.get("OUT") or HERE
        self.end = time.monotonic() + 60 * options.minutes
        os.makedirs(self.work, exist_ok=True)
        os.makedirs(self.out, exist_ok=True)
        self.log = open(os.path.join(self.out, "log.txt"), "a", encoding="utf-8", errors="replace")
        self.result = {"provider": options.provider, "arguments": sys.argv[1:], "steps": {}}
        self.environment = None

    # --- running ----------------------------------------------------------------------------------------------------

    def save(self):
        path = os.path.join(self.out, "result.json")
        with open(path + ".tmp", "w", encoding="utf-8") as file:
            json.dump(self.result, file, indent=2)
            file.write("\n")
        os.replace(path + ".tmp", path)

    def say(self, text):
        print(text, flush=True)
        self.log.write(text + "\n")
        self.log.flush()

    def left(self):
        return self.end - time.monotonic()

    def run(self, command, limit, environment=None, check=True):
        """Runs a program to its end or its limit, with all that it started; gives its output. Raises Failed."""
        limit = max(1, min(limit, self.left()))
        self.log.write("$ %s\n" % " ".join(command))
        self.log.flush()
        begin = time.monotonic()
        path = os.path.join(self.work, "output.txt")
        with open(path, "wb") as output:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.app if os.path.isdir(self.app) else self.work,
                env=environment or self.environment,
                start_new_session=True,
            )
            try:
                code = child.wait(limit)
            except subprocess.TimeoutExpired:
                code = None
            # Also what it left behind: the next step must have the device for itself.
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            child.wait()
        with open(path, "r", encoding="utf-8", errors="replace") as file:
            text = file.read()
        self.log.write("%s\n[%s, %.1f s]\n" % (text, "time is up" if code is None else code, time.monotonic() - begin))
        self.log.flush()
        if check and code != 0:
            why = "took longer than %.0f s" % limit if code is None else "ended with %s" % code
            raise Failed("%s %s:\n%s" % (os.path.basename(command[0]), why, text[-3000:].strip()))
        return text

    def step(self, name):
        begin = time.monotonic()
        self.say("\n== %s" % name)
        record = {"ok": False}
        self.result["steps"][name] = record
        try:
            record.update(getattr(self, name)() or {})
            record["ok"] = True
        except Failed as error:
            record["error"] = str(error)
            record.update(getattr(error, "found", {}))
        except Exception as error:  # whatever it is, the next step runs
            record["error"] = "%s: %s" % (type(error).__name__, error)
        record["seconds"] = round(time.monotonic() - begin, 1)
        if not record["ok"]:
            self.say(record["error"])
        self.say("== %s: %s, %.1f s" % (name, "ok" if record["ok"] else "FAILED", record["seconds"]))
        self.save()

    # --- steps ------------------------------------------------------------------------------------------------------

    def unpack(self):
        """Parts into $work: an archive that is there already, whole, is left alone."""
        with open(os.path.join(HERE, "manifest.json"), encoding="utf-8") as file:
            manifest = json.load(file)
        self.result["bundle"] = {key: manifest.get(key) for key in ("version", "commit", "made")}
        fresh = []
        for archive in manifest["archives"]:
            stamp = os.path.join(self.work, archive["name"] + ".sha256")
            if os.path.exists(stamp) and open(stamp).read() == archive["sha256"]:
                continue
            parts = [os.path.join(HERE, part["file"]) for part in archive["parts"]]
            for part, path in zip(archive["parts"], parts):
                if not os.path.exists(path):
                    raise Failed("%s is not here: copy it beside assemble.sh" % part["file"])
                if sha256(path) != part["sha256"]:
                    raise Failed("%s is damaged: copy it again" % part["file"])
            target = os.path.join(self.work, archive["name"])
            shutil.rmtree(target, ignore_errors=True)
            with io.BufferedReader(Parts(parts), 1 << 20) as stream:
                with tarfile.open(fileobj=stream, mode="r|xz", bufsize=1 << 20) as tar:
                    if hasattr(tarfile, "data_filter"):
                        tar.extraction_filter = tarfile.data_filter
                    tar.extractall(target)
            with open(stamp, "w") as file:
                file.write(archive["sha256"])
            fresh.append(archive["name"])
        self.place()
        return {"unpacked": fresh}

    def place(self):
        """What the runtime archive has for the app's folders goes there, as further names of the same files."""
        runtime = os.path.join(self.work, "runtime", "app")
        for folder, _, names in os.walk(runtime):
            to = os.path.join(self.app, os.path.relpath(folder, runtime))
            os.makedirs(to, exist_ok=True)
            for name in names:
                target = os.path.join(to, name)
                if os.path.exists(target):
                    os.remove(target)
                os.link(os.path.join(folder, name), target)
        cache = self.cache()
        os.makedirs(cache, exist_ok=True)
        for path in glob.glob(os.path.join(self.app, "texts", "*")):
            shutil.copy(path, cache)

    def cache(self):
        return os.path.join(self.work, "models")

    def set_environment(self, folders=()):
        env = dict(os.environ)
        env["PATH"] = os.path.join(self.work, "runtime/node/bin") + ":" + env.get("PATH", "/usr/bin:/bin")
        env["HOME"] = env.get("HOME") or self.work
        env["BATCHED_CACHE_DIR"] = self.cache()
        env["BATCHED_RAW_LOOP"] = os.path.join(self.app, "bin/raw_loop")
        env["BATCHED_TEST_PROVIDER"] = self.options.provider
        env["ORT_DISABLE_TELEMETRY"] = "1"
        if glob.glob(os.path.join(sys.prefix, "lib/python3*/site-packages/nvidia")):
            env.setdefault("VIRTUAL_ENV", sys.prefix)
        if os.path.isdir("/usr/local/cuda"):
            env.setdefault("CUDA_HOME", "/usr/local/cuda")
        # The raw loop has no search of its own: the linker finds for it what the package finds for itself.
        env["BATCHED_RAW_LOOP_LIBRARY_PATH"] = ":".join(find_cuda()[1])
        if folders:
            env["LD_LIBRARY_PATH"] = ":".join(list(folders) + list(filter(None, [env.get("LD_LIBRARY_PATH")])))
        self.environment = env

    def node(self):
        return os.path.join(self.work, "runtime/node/bin/node")

    def program(self, path):
        return [self.node(), os.path.join(self.app, path)]

    def machine(self):
        found, folders = find_cuda()
        facts = {
            "system": platform.platform(),
            "libc": " ".join(platform.libc_ver()),
            "python": sys.version.split()[0],
            "cores": len(os.sched_getaffinity(0)),
            "cudaLibraries": found,
            "cudaFolders": folders,
            "libraryPath": os.environ.get("LD_LIBRARY_PATH"),
        }
        for name, command in {
            "nvidiaSmi": ["nvidia-smi"],
            "gpus": ["nvidia-smi", "-L"],
            "memory": ["free", "-m"],
            "cpu": ["sh", "-c", "grep -m1 'model name' /proc/cpuinfo"],
            "provider": ["ldd", os.path.join(self.app, "prebuilds/linux-x64/libonnxruntime_providers_cuda.so")],
            "linker": ["sh", "-c", "/sbin/ldconfig -p | grep -E 'libcu(da|dart|blas|dnn|rand)' | head -30"],
        }.items():
            try:
                facts[name] = self.run(command, LIMITS["machine"] / 6, check=False).strip()
            except OSError as error:
                facts[name] = str(error)
        self.say(facts["gpus"] or "no GPU that nvidia-smi knows")
        return {"facts": facts}

    def probe(self):
        """Can a model run on the provider: as the machine is, else with the linker told where the libraries are."""
        found, folders = find_cuda()
        tries = []
        for how, extra in (("as it is", []), ("LD_LIBRARY_PATH", folders)):
            self.set_environment(extra)
            try:
                text = self.run(self.program("scripts/gpu/probe.js") + [self.options.provider], LIMITS["probe"] / 2)
                tries.append({"how": how, "ok": True, "found": json.loads(text.strip().splitlines()[-1])})
                self.say("%s: %s" % (how, text.strip().splitlines()[-1]))
                return {"environment": how, "tries": tries}
            except Failed as error:
                tries.append({"how": how, "ok": False, "error": str(error)})
                self.say("%s: %s" % (how, error))
        failure = Failed("no model runs on %s here" % self.options.provider)
        failure.found = {"environment": "LD_LIBRARY_PATH", "tries": tries}
        raise failure

    def doctor(self):
        command = self.program("dist/cli/main.js") + ["doctor"]
        command += ["--cuda"] if self.options.provider == "cuda" else []
        text = self.run(command + ["--json"], LIMITS["doctor"] / 2, check=False)
        self.say(self.run(command, LIMITS["doctor"] / 2, check=False).strip())
        try:
            report = json.loads(text)
        except ValueError:
            raise Failed("doctor gave no JSON:\n%s" % text[-2000:])
        if not report.get("ok"):
            failure = Failed("doctor says that models cannot run here")
            failure.found = {"report": report}
            raise failure
        return {"report": report}

    def models(self):
        """The models of the benchmark, so that making them is not on its time."""
        made = {}
        for name in self.options.models.split(","):
            begin = time.monotonic()
            text = self.run(self.program("scripts/gpu/make-model.js") + [name, self.options.provider], LIMITS["models"])
            path = text.strip().splitlines()[-1]
            made[name] = {"seconds": round(time.monotonic() - begin, 1), "bytes": os.path.getsize(path)}
            self.say("%s: %s" % (name, made[name]))
        return {"made": made}

    def tests(self):
        report = os.path.join(self.work, "tests.xml")
        if os.path.exists(report):
            os.remove(report)
        files = sorted(glob.glob(os.path.join(self.app, "test/gpu/*.test.js")))
        flags = ["--test", "--test-concurrency=1", "--test-timeout=120000"]
        flags += ["--test-reporter=spec", "--test-reporter-destination=stdout"]
        flags += ["--test-reporter=junit", "--test-reporter-destination=" + report]
        failure = None
        try:
            self.run([self.node()] + flags + files, LIMITS["tests"])
        except Failed as error:
            failure = error
        tests = read_tests(report)
        passed = sum(1 for test in tests if test["ok"])
        self.say("%d of %d tests passed" % (passed, len(tests)))
        broken = [test for test in tests if not test["ok"]]
        for test in broken[:12]:
            self.say("  FAILED %s: %s" % (test["name"], (test.get("message") or "").strip()[:300]))
        if len(broken) > 12:
            self.say("  ... and %d more, in log.txt" % (len(broken) - 12))
        found = {"passed": passed, "failed": len(tests) - passed, "tests": tests}
        if failure is not None or passed < len(tests) or not tests:
            failure = failure or Failed("%d of %d tests failed" % (len(tests) - passed, len(tests)))
            failure.found = found
            raise failure
        return found

    def bench(self):
        report = os.path.join(self.work, "bench.json")
        if os.path.exists(report):
            os.remove(report)
        minutes = max(0.2, (self.left() - 25) / 60)
        command = self.program("bench/main.js") + ["gpu", "--provider", self.options.provider]
        command += ["--models", self.options.models, "--rounds", str(self.options.rounds)]
        command += ["--minutes", "%.2f" % minutes, "--json", report]
        failure, text = None, ""
        try:
            text = self.run(command + (["--quick"] if self.options.quick else []), self.left() - 5)
        except Failed as error:
            failure, text = error, str(error)
        found = {}
        if os.path.exists(report):
            with open(report, encoding="utf-8") as file:
                found["report"] = json.load(file)
            found["table"] = bench_table(found["report"]["results"])
            self.say(found["table"])
        if failure is not None or "report" not in found:
            failure = failure or Failed("bench gpu wrote no report")
            failure.found = found
            raise failure
        return found

    def profile(self):
        """A trace of a short load, where nsys is."""
        places = sorted(glob.glob("/opt/nvidia/nsight-systems/*/bin/nsys")) + sorted(glob.glob("/usr/local/cuda*/bin/nsys"))
        nsys = shutil.which("nsys") or next(iter(places), None)
        if nsys is None:
            self.say("left out: there is no nsys")
            return {"leftOut": "there is no nsys"}
        trace = os.path.join(self.work, "trace")
        kinds = "nvtx,cuda" if self.options.provider == "cuda" else "nvtx"
        load = self.program("scripts/profile/load.js") + ["--provider", self.options.provider]
        flags = ["profile", "-t", kinds, "-s", "none", "--cpuctxsw=none", "--force-overwrite=true", "-o", trace]
        self.run([nsys] + flags + load, LIMITS["profile"] / 2)
        files = sorted(glob.glob(trace + ".*rep"), key=os.path.getmtime)
        if not files:
            raise Failed("nsys wrote no report")
        export = ["export", "--type=sqlite", "--force-overwrite=true", "-o", trace + ".sqlite", files[-1]]
        self.run([nsys] + export, LIMITS["profile"] / 2)
        table = self.run([sys.executable, os.path.join(self.app, "scripts/profile/ranges.py"), trace + ".sqlite"], 30)
        self.say(table)
        return {"table": table}


def bench_table(results):
    """One line per model and mix of what `bench gpu` found: the whole report has hundreds."""
    values = {result["name"]: result["value"] for result in results if isinstance(result, dict)}
    subjects = []
    for name in values:
        parts = name.split("/")
        if len(parts) > 3 and parts[0] == "gpu" and parts[1:3] not in subjects:
            subjects.append(parts[1:3])

    def cell(subject, name, form):
        value = values.get("gpu/%s/%s/%s" % (subject[0], subject[1], name))
        return "-" if value is None else form % value

    rows = [["", "batch", "raw/s", "64 clients", "256", "1024", "lone us", "raw us", "device", "loop ms", "thread", "MiB"]]
    for subject in subjects:
        at = "1024-clients/"
        rows.append(
            ["/".join(subject), cell(subject, "batch-size", "%d"), cell(subject, "raw-sequences-per-s", "%.0f")]
            + [
                cell(subject, "%d-clients/sequences-per-s" % clients, "%.0f")
                + " " + cell(subject, "%d-clients/of-raw" % clients, "%.3f")
                for clients in (64, 256, 1024)
            ]
            + [cell(subject, "lone-p50-us", "%.0f"), cell(subject, "raw-lone-p50-us", "%.0f")]
            + [cell(subject, at + "device-busy", "%.3f"), cell(subject, at + "event-loop-p99-ms", "%.2f")]
            + [cell(subject, at + "busiest-thread", "%.2f"), cell(subject, at + "device-mib", "%.0f")]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(text.rjust(width) for text, width in zip(row, widths)) for row in rows)


def read_tests(path):
    """What Node's JUnit reporter wrote: every test with its outcome."""
    if not os.path.exists(path):
        return []
    try:
        root = xml.parse(path).getroot()
    except xml.ParseError:
        return []
    tests = []
    for case in root.iter("testcase"):
        problem = case.find("failure")
        if problem is None:
            problem = case.find("error")
        test = {"name": case.get("name"), "ok": problem is None, "seconds": float(case.get("time") or 0)}
        if problem is not None:
            test["message"] = ((problem.get("message") or "") + "\n" + (problem.text or ""))[:2000]
        tests.append(test)
    return tests


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--provider", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--only", default="", help="some of: " + ", ".join(STEPS))
    parser.add_argument("--models", default="base,minilm,large", help="for models and bench, in this order")
    parser.add_argument("--minutes", type=float, default=9.0, help="for everything together (9: a call ends at 10)")
    parser.add_argument("--rounds", type=int, default=1, help="of the benchmark")
    parser.add_argument("--quick", action="store_true", help="smaller quantities in the benchmark")
    parser.add_argument("--work", default=os.path.join(HERE, "work"), help="where to unpack and work")
    options = parser.parse_args()
    options.only = [name for name in options.only.split(",") if name] or STEPS
    unknown = [name for name in options.only if name not in STEPS]
    if unknown:
        parser.error("--only knows %s, not %s" % (", ".join(STEPS), ", ".join(unknown)))
    return options


def main():
    options = parse_options()
    session = Session(options)
    names = [name for name in STEPS if name in options.only]
    # Nothing runs without these two; both are quick where they have been done before.
    needed = [name for name in ("unpack", "probe") if name not in names and names != ["unpack"]]
    for name in sorted(names + needed, key=STEPS.index):
        if name == "probe" or session.environment is None:
            session.set_environment()
        if session.left() < 5:
            session.result["steps"][name] = {"ok": False, "error": "not run: the time is up"}
            session.save()
            continue
        session.step(name)
        if name == "unpack" and not session.result["steps"]["unpack"]["ok"]:
            break
    failed = [name for name, record in session.result["steps"].items() if not record["ok"]]
    summary = {name: record["ok"] for name, record in session.result["steps"].items()}
    session.say("\n%s\n%s" % (json.dumps(summary), "failed: " + ", ".join(failed) if failed else "all steps went well"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
