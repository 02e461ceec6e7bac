"""A Kubernetes cluster on this machine, and the part of it that any other cluster has, too."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from harness import _machine, _processes, binaries, images
from harness._cache import locked, remove

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "LIMITED",
    "RUN_LABEL",
    "Cluster",
    "LocalCluster",
    "Unsupported",
    "missing",
    "wait_until",
]

#: The label of whatever a backend of ours makes in a cluster.
RUN_LABEL = "zenml.io/run"
#: Users who may do nothing, until a test gives them rights.
LIMITED = ("limited-1", "limited-2", "limited-3")
#: The label and the taint of simulated nodes.
SIMULATED = "zenml.io/simulated"

FAULTS = "faults are made only in a cluster that the tests start"
HERE = Path(__file__).parent
PLUGINS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
DISTRIBUTION_PROGRAMS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "openssl": "openssl",
    "nsenter": "util-linux",
}


class Unsupported(Exception):  # noqa: N818
    """This cluster cannot do that; a test that needs it is skipped."""


def missing() -> str | None:
    """Why no cluster can be started here, or None."""
    if sys.platform != "linux":
        return "a cluster needs Linux"
    if os.geteuid() != 0:
        return "a cluster needs root"
    packages = {pkg for name, pkg in DISTRIBUTION_PROGRAMS.items() if not shutil.which(name)}
    if not any((folder / "bridge").exists() for folder in PLUGINS):
        packages.add("containernetworking-plugins")
    if packages:
        return f"a cluster needs what apt-get installs: {' '.join(sorted(packages))}"
    if not shutil.which("go"):
        return "a cluster needs Go, to build Kubernetes"
    if not os.access("/sys/fs/cgroup", os.W_OK):
        return "a cluster needs control groups that can be written"
    return None


def wait_until(
    condition: Callable[[], Any], seconds: float = 60.0, what: object = None, pause: float = 0.1
) -> Any:
    """Wait until a condition holds; returns what it gave.

    Args:
        condition: Holds when it gives something true.
        seconds: How long to wait.
        what: Says what was waited for; called, if it can be, when that has not come.
        pause: Seconds between two looks.

    Raises:
        TimeoutError: It did not hold in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            told = what() if callable(what) else what or condition
            raise TimeoutError(f"not within {seconds:g} s: {told}")
        time.sleep(pause)


class Cluster:
    """Any cluster, as ``kubectl`` reaches it.

    Args:
        kubeconfig: The file that says where it is, and who asks.
        context: A context of that file; by default its current one.
        program: ``kubectl``.
    """

    def __init__(
        self, kubeconfig: Path, context: str | None = None, program: str = "kubectl"
    ) -> None:
        self.kubeconfig = kubeconfig
        self.context = context
        self.program = program

    def kubectl(
        self,
        *arguments: str,
        manifest: object = None,
        user: str | None = None,
        seconds: float = 120.0,
    ) -> str:
        """What ``kubectl`` prints.

        Args:
            arguments: Its command line.
            manifest: Given to it as JSON on standard input; for ``-f -``.
            user: Who asks, if not the administrator.
            seconds: How long it may take.

        Raises:
            subprocess.CalledProcessError: It failed; ``stderr`` says why.
        """
        config = self.kubeconfig if user is None else self.kubeconfig_for(user)
        chosen = [] if self.context is None else ["--context", self.context]
        done = subprocess.run(
            [self.program, "--kubeconfig", str(config), *chosen, *arguments],
            input="" if manifest is None else json.dumps(manifest),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if done.returncode:
            raise _Failed(done.returncode, ["kubectl", *arguments], done.stdout, done.stderr)
        return done.stdout

    def get(self, kind: str, *arguments: str, namespace: str | None = None) -> Any:
        """One object, or with ``-l …`` or nothing else all of a kind as a list."""
        where = [] if namespace is None else ["--namespace", namespace]
        found = json.loads(self.kubectl("get", kind, *arguments, *where, "--output", "json"))
        return found["items"] if found["kind"] == "List" else found

    def apply(self, *manifests: object) -> None:
        """Make objects, or change them."""
        whole = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.kubectl("apply", "--filename", "-", manifest=whole)

    def events(self, namespace: str) -> list[tuple[str, str]]:
        """The reasons and messages of the events of a namespace."""
        return [
            (event.get("reason", ""), event.get("message", ""))
            for event in self.get("events", namespace=namespace)
        ]

    def add_namespace(self, name: str, *, enforce: str = "restricted") -> None:
        """Make a namespace that admits only such pods, and wait until pods can be made in it."""
        labels = {"pod-security.kubernetes.io/enforce": enforce}
        metadata = {"name": name, "labels": labels}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        account = f"serviceaccount/default --namespace {name} --output name --ignore-not-found"
        wait_until(lambda: self.kubectl("get", *account.split()), what=f"the account of {name}")

    def remove_namespace(self, name: str) -> None:
        """Have a namespace removed, and all in it, which takes the cluster some seconds."""
        self.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")
        chosen = ("--selector", f"zenml.io/namespace={name}")
        self.kubectl("delete", "persistentvolumes", *chosen, "--wait=false")

    # -- what only a cluster of ours can -----------------------------------------------------------

    def kubeconfig_for(self, user: str) -> Path:
        """The file by which another user asks: one of `LIMITED`."""
        raise Unsupported("only a cluster that the tests start has users to choose from")

    def load(self, archive: Path) -> str:
        """Have the nodes know the image in an archive; returns the image's name."""
        raise Unsupported("only a cluster that the tests start takes images without a registry")

    def shared_volume(self, namespace: str, folder: Path) -> str:
        """Have pods mount a folder of this machine; returns the name of the volume claim."""
        raise Unsupported("only a cluster that the tests start can mount a folder of this machine")

    @property
    def host(self) -> str:
        """The address at which pods reach servers of this machine that listen there."""
        raise Unsupported("only pods of a cluster that the tests start reach this machine")

    def start_kwok(self, nodes: int, *, seconds: float = 1.0) -> str:
        """Simulate nodes; returns the label (and taint) that they have."""
        raise Unsupported("nodes are simulated only in a cluster that the tests start")

    def pause(self, component: str) -> None:
        """Stop a component where it stands, as a machine that hangs would."""
        raise Unsupported(FAULTS)

    def resume(self, component: str) -> None:
        """Let a component go on that was stopped."""
        raise Unsupported(FAULTS)

    def kill(self, component: str) -> None:
        """End a component at once, as a machine that loses power would."""
        raise Unsupported(FAULTS)

    def start_component(self, component: str) -> None:
        """Start a component that has ended."""
        raise Unsupported(FAULTS)

    def restart(self, component: str) -> None:
        """End a component in an orderly way, and start it again."""
        raise Unsupported(FAULTS)


class _Failed(subprocess.CalledProcessError):
    def __str__(self) -> str:
        return f"{super().__str__()}\n{self.stderr}"


class LocalCluster(Cluster):
    """A cluster of one node on this machine: one process for each component, all on loopback.

    The components are ``etcd``, ``kube-apiserver``, ``kube-controller-manager``,
    ``kube-scheduler``, ``containerd``, ``kubelet``, and ``kwok`` if it was asked for.

    Args:
        keep_logs: A folder that the logs are copied to when the cluster is stopped.

    Attributes:
        run: The folder with all that the cluster writes.
        node: The name of its node.
    """

    node = "localhost"

    def __init__(self, *, keep_logs: Path | None = None) -> None:
        self.run = Path()
        self._keep_logs = keep_logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._simulated = itertools.count()
        self._tokens = {user: secrets.token_hex(16) for user in ("admin", *LIMITED)}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # -- life --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start everything, and wait until the node is ready for pods."""
        why = missing()
        if why is not None:
            raise Unsupported(why)
        programs, pause = binaries.kubernetes(), images.pause()
        try:
            with _locked():
                sweep()
                self.run = _runs() / f"zenml-{secrets.token_hex(3)}"
                (self.run / "logs").mkdir(parents=True)
                (self.run / "owner.json").write_text(json.dumps(_processes.identity(os.getpid())))
                self._network = _machine.Network(self.run.name)
                _machine.add_network(self._network)
            super().__init__(self.run / "admin.kubeconfig", None, str(programs / "kubectl"))
            _machine.add_control_group(self.run.name)
            self._configure(programs)
            for name in ("machine", "etcd", "kube-apiserver", "containerd"):
                self._spawn(name)
            self._wait_for("machine")
            self._wait_for("containerd")
            self.load(pause)
            # It has made its certificate by then, which all others read as they start.
            self._wait_for("kube-apiserver")
            for name in ("kubelet", "kube-controller-manager", "kube-scheduler", "api-for-pods"):
                self._spawn(name)
            self._wait_for("kubelet")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End everything; nothing is left of it but the logs, if they are to be kept."""
        if self.run == Path():
            return
        for process in self._running.values():
            process.send_signal(signal.SIGCONT)
        with contextlib.suppress(Exception):
            # So that containers end, and their network is undone, by what made them.
            self._delete_pods()
        if self._keep_logs is not None:
            shutil.copytree(self.run / "logs", self._keep_logs, dirs_exist_ok=True)
        for process in self._running.values():
            process.kill()
        with _locked():
            _clean(self.run)
        for process in self._running.values():
            process.wait()
        self._running.clear()
        self.run = Path()

    def _delete_pods(self) -> None:
        if self._running["kubelet"].poll() is not None:
            return
        everywhere = ("--all", "--all-namespaces", "--force", "--wait=false")
        self.kubectl("delete", "pods", *everywhere, "--request-timeout=5s", seconds=10)
        wait_until(lambda: not any(map(_is_shim, self.processes())), 10)

    def processes(self) -> list[_processes.Identity]:
        """Every process of this cluster, those in its pods too: process ids and starting times."""
        return _processes.of_run(self.run)

    # -- components --------------------------------------------------------------------------------

    def pause(self, component: str) -> None:
        os.kill(self._process(component).pid, signal.SIGSTOP)

    def resume(self, component: str) -> None:
        os.kill(self._process(component).pid, signal.SIGCONT)

    def kill(self, component: str) -> None:
        self._process(component).kill()
        self._running[component].wait()

    def start_component(self, component: str) -> None:
        if self._running[component].poll() is None:
            raise RuntimeError(f"{component} is running")
        self._spawn(component)
        self._wait_for(component)

    def restart(self, component: str) -> None:
        process = self._process(component)
        process.terminate()
        process.wait(60)
        self.start_component(component)

    def _process(self, component: str) -> subprocess.Popen[bytes]:
        process = self._running[component]
        if process.poll() is not None:
            raise RuntimeError(f"{component} is not running:\n{self.log(component)}")
        return process

    def log(self, component: str, size: int = 4000) -> str:
        """The end of what a component has logged."""
        return (self.run / "logs" / f"{component}.log").read_text(errors="replace")[-size:]

    def _spawn(self, name: str) -> None:
        command = self._commands[name]
        if name in ("containerd", "kubelet"):
            namespace = f"--mount=/proc/{self._running['machine'].pid}/ns/mnt"
            self._wait_for("machine")
            command = ["nsenter", namespace, *command]
        variables = {_processes.MARK: str(self.run), "TMPDIR": str(self.run / "tmp")}
        with (self.run / "logs" / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                command,
                cwd=self.run,
                env={**os.environ, **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the one who waits, who then stops all of them.
                start_new_session=True,
            )

    def _wait_for(self, name: str) -> None:
        looks = {
            "machine": (self.run / "machine" / "ready").exists,
            "containerd": lambda: _answers(self.run / "containerd.sock"),
            "kube-apiserver": lambda: self._get("/readyz") == "ok",
            "kubelet": self._node_is_ready,
        }
        look = looks.get(name)
        if look is not None:
            wait_until(
                lambda: self._process(name) and look(), 180, functools.partial(self.log, name)
            )

    def _get(self, path: str) -> str | None:
        # Not by this process: where the server hangs up as it is reached, Python's ssl loses a
        # socket, and whichever test runs when that is collected is told of it.
        try:
            return self.kubectl("get", "--raw", path, "--request-timeout=5s")
        except subprocess.CalledProcessError:
            return None

    def _node_is_ready(self) -> bool:
        # A node that was ready a moment ago still says so when its kubelet has ended.
        try:
            with urllib.request.urlopen(f"{self._health}/healthz", timeout=5):  # noqa: S310
                pass
        except OSError:
            return False
        text = self._get(f"/api/v1/nodes/{self.node}")
        conditions = json.loads(text)["status"].get("conditions", []) if text else []
        return {"Ready": "True"}.items() <= {c["type"]: c["status"] for c in conditions}.items()

    # -- what is in it -----------------------------------------------------------------------------

    @property
    def host(self) -> str:
        return self._network.host

    def kubeconfig_for(self, user: str) -> Path:
        if user not in self._tokens:
            raise KeyError(f"{user} is none of the users {', '.join(self._tokens)}")
        return self.run / f"{user}.kubeconfig"

    def load(self, archive: Path) -> str:
        socket_ = str(self.run / "containerd.sock")
        done = subprocess.run(
            ["ctr", "--address", socket_, "--namespace", "k8s.io", "images", "import", archive],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{archive} cannot be loaded: {done.stderr}")
        return images.name_of(archive)

    def shared_volume(self, namespace: str, folder: Path) -> str:
        folder = folder.resolve()
        if any(folder.is_relative_to(hidden) for hidden in _machine.HIDDEN):
            raise ValueError(f"{folder} cannot be shared: pods see another {folder.parts[1]}")
        _machine.share(folder)
        claim = f"shared-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"
        volume = f"{namespace}-{claim}"
        common = {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "",
        }
        owner = {"kind": "PersistentVolumeClaim", "namespace": namespace, "name": claim}
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": volume, "labels": {"zenml.io/namespace": namespace}},
                "spec": {
                    **common,
                    "capacity": {"storage": "1Gi"},
                    "claimRef": owner,
                    "hostPath": {"path": str(folder), "type": "Directory"},
                    "persistentVolumeReclaimPolicy": "Retain",
                },
            },
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": claim, "namespace": namespace},
                "spec": {
                    **common,
                    "volumeName": volume,
                    "resources": {"requests": {"storage": "1Gi"}},
                },
            },
        )
        wait_until(
            lambda: self.get("pvc", claim, namespace=namespace)["status"]["phase"] == "Bound",
            what=f"the claim {claim}",
        )
        return claim

    def start_kwok(self, nodes: int, *, seconds: float = 1.0) -> str:
        """Simulate nodes in place of those simulated before.

        Args:
            nodes: How many; each has room for 110 pods, 4 processors and 16 GiB.
            seconds: How long the pods of Jobs run there, unless their annotation
                ``zenml.io/simulated-duration`` says otherwise.
        """
        if "kwok" in self._running and self._running["kwok"].poll() is None:
            self.kill("kwok")
        stages = (HERE / "stages.yaml").read_text(encoding="utf-8")
        file = self.run / "stages.yaml"
        file.write_text(stages.replace("DURATION", str(int(seconds * 1000))), encoding="utf-8")
        self._commands["kwok"] = [
            str(binaries.kwok()),
            f"--kubeconfig={self.kubeconfig}",
            f"--config={file}",
            "--manage-all-nodes=false",
            f"--manage-nodes-with-label-selector={SIMULATED}=true",
            "--node-lease-duration-seconds=20",
            "--v=WARN",
        ]
        self._spawn("kwok")
        self.kubectl("delete", "nodes", "--selector", SIMULATED)
        taint = {"key": SIMULATED, "value": "true", "effect": "NoSchedule"}
        labels = {SIMULATED: "true"}
        made = [
            {
                "apiVersion": "v1",
                "kind": "Node",
                # Never a name again: the lease of one before it may not have run out.
                "metadata": {"name": f"simulated-{next(self._simulated)}", "labels": labels},
                "spec": {"taints": [taint]},
            }
            for _ in range(nodes)
        ]
        whole = {"apiVersion": "v1", "kind": "List", "items": made}
        self.kubectl("create", "--filename", "-", manifest=whole)
        chosen = f"--selector={SIMULATED}"
        self.kubectl("wait", "nodes", chosen, "--for=condition=Ready", "--timeout=100s")
        return SIMULATED

    # -- configuration -----------------------------------------------------------------------------

    def _configure(self, programs: Path) -> None:
        run, network = self.run, self._network
        etcd, peer, api, manager, scheduler, kubelet, health = _machine.free_ports(7)
        self.server, self._health = f"https://127.0.0.1:{api}", f"http://127.0.0.1:{health}"
        for folder in ("pki", "cni", "kubelet", "tmp", "manifests"):
            (run / folder).mkdir()
        tokens = [
            f'{token},{user},{user},"{"system:masters" if user == "admin" else ""}"\n'
            for user, token in self._tokens.items()
        ]
        _private(run / "tokens.csv", "".join(tokens))
        for user, token in self._tokens.items():
            _private(run / f"{user}.kubeconfig", json.dumps(self._kubeconfig(user, token)))
        key, public = run / "pki" / "accounts.key", run / "pki" / "accounts.pub"
        _quietly("openssl", "genrsa", "-out", str(key), "2048")
        _quietly("openssl", "rsa", "-in", str(key), "-pubout", "-out", str(public))
        plugins = next(folder for folder in PLUGINS if (folder / "bridge").exists())
        (run / "cni" / "bridge.conflist").write_text(json.dumps(self._cni()))
        (run / "containerd.toml").write_text(_containerd(run, plugins))
        (run / "kubelet.json").write_text(json.dumps(self._kubelet(kubelet, health)))
        (run / "resolv.conf").touch()
        admin, loopback = f"--kubeconfig={self.kubeconfig}", "--bind-address=127.0.0.1"
        url, peer_url = f"http://127.0.0.1:{etcd}", f"http://127.0.0.1:{peer}"
        self._commands = {
            "machine": [
                "unshare",
                "--mount",
                "--propagation",
                "slave",
                "sh",
                "-c",
                _machine.NAMESPACE,
                "machine",
                str(run),
            ],
            "etcd": [
                str(binaries.etcd()),
                f"--data-dir={run}/etcd",
                f"--listen-client-urls={url}",
                f"--advertise-client-urls={url}",
                f"--listen-peer-urls={peer_url}",
                f"--initial-advertise-peer-urls={peer_url}",
                f"--initial-cluster=default={peer_url}",
                "--unsafe-no-fsync",
            ],
            "kube-apiserver": [
                str(programs / "kube-apiserver"),
                loopback,
                "--advertise-address=127.0.0.1",
                f"--secure-port={api}",
                f"--cert-dir={run}/pki",
                f"--etcd-servers={url}",
                f"--token-auth-file={run}/tokens.csv",
                f"--service-cluster-ip-range={network.services}",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={public}",
                f"--service-account-signing-key-file={key}",
                "--authorization-mode=Node,RBAC",
                "--endpoint-reconciler-type=none",
                # As clusters everywhere: it is for pod security to refuse.
                "--allow-privileged",
                "--shutdown-watch-termination-grace-period=1s",
                "--kubelet-preferred-address-types=Hostname",
                # What is lost is missed in seconds, not in minutes.
                "--default-not-ready-toleration-seconds=10",
                "--default-unreachable-toleration-seconds=10",
            ],
            "kube-controller-manager": [
                str(programs / "kube-controller-manager"),
                admin,
                loopback,
                f"--secure-port={manager}",
                f"--cert-dir={run}/manager",
                "--leader-elect=false",
                "--use-service-account-credentials",
                f"--service-account-private-key-file={key}",
                f"--root-ca-file={run}/pki/apiserver.crt",
                "--kube-api-qps=200",
                "--kube-api-burst=400",
                "--node-monitor-period=2s",
                "--node-monitor-grace-period=16s",
            ],
            "kube-scheduler": [
                str(programs / "kube-scheduler"),
                admin,
                loopback,
                f"--secure-port={scheduler}",
                "--kube-api-qps=200",
                "--kube-api-burst=400",
                f"--cert-dir={run}/scheduler",
                "--leader-elect=false",
            ],
            "containerd": ["containerd", "--config", f"{run}/containerd.toml"],
            "kubelet": [
                str(programs / "kubelet"),
                admin,
                f"--config={run}/kubelet.json",
                f"--root-dir={run}/kubelet",
                f"--cert-dir={run}/kubelet/pki",
                f"--hostname-override={self.node}",
            ],
            # Pods know the API server by its service's address, as everywhere.
            "api-for-pods": [
                sys.executable,
                str(HERE / "forward.py"),
                network.api,
                "443",
                "127.0.0.1",
                str(api),
            ],
        }

    def _kubeconfig(self, user: str, token: str) -> dict[str, Any]:
        authority = str(self.run / "pki" / "apiserver.crt")
        cluster = {"server": self.server, "certificate-authority": authority}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "local", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "local", "context": {"cluster": "local", "user": user}}],
            "current-context": "local",
        }

    def _cni(self) -> dict[str, Any]:
        network = self._network
        addresses = {
            "type": "host-local",
            "dataDir": f"{self.run}/addresses",
            "ranges": [[{"subnet": str(network.pods), "gateway": network.host}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        # The bridge has its address, so the plugin need not make the machine a router.
        bridge = {"type": "bridge", "bridge": network.bridge, "ipam": addresses}
        return {"cniVersion": "0.4.0", "name": network.bridge, "plugins": [bridge]}

    def _kubelet(self, port: int, health: int) -> dict[str, Any]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": "127.0.0.1",
            "port": port,
            "healthzBindAddress": "127.0.0.1",
            "healthzPort": health,
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.run.name}",
            # Nobody answers there, which a pod learns at once.
            "clusterDNS": [self._network.api],
            "clusterDomain": "cluster.local",
            "containerRuntimeEndpoint": f"unix://{self.run}/containerd.sock",
            "enforceNodeAllocatable": ["pods"],
            "evictionHard": {"memory.available": "64Mi", "nodefs.available": "1%"},
            "failSwapOn": False,
            "imageGCHighThresholdPercent": 100,
            "makeIPTablesUtilChains": False,
            "nodeLeaseDurationSeconds": 8,
            "nodeStatusUpdateFrequency": "4s",
            "podLogsDir": f"{self.run}/pods",
            "resolvConf": f"{self.run}/resolv.conf",
            "syncFrequency": "10s",
            "volumePluginDir": f"{self.run}/plugins",
        }


def _containerd(run: Path, plugins: Path) -> str:
    return f"""
version = 2
root = "{run}/containerd/root"
state = "{run}/containerd/state"
disabled_plugins = [
    "io.containerd.internal.v1.opt",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
]

[grpc]
address = "{run}/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{images.PAUSE}"
stream_server_address = "127.0.0.1"
stream_server_port = "0"
netns_mounts_under_state_dir = true
# Without CAP_SYS_RESOURCE no process may be made less likely to be ended when memory is short.
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{run}/cni"
"""


def _is_shim(process: _processes.Identity) -> bool:
    with contextlib.suppress(OSError):
        return "containerd-shim" in Path(f"/proc/{process[0]}/cmdline").read_text("latin-1")
    return False


def _private(file: Path, text: str) -> None:
    file.touch(0o600)
    file.write_text(text, encoding="utf-8")


def _quietly(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _answers(path: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        return True
    return False


# -- what killed tests left ------------------------------------------------------------------------


def _runs() -> Path:
    return Path(tempfile.gettempdir()).resolve() / "zenml-clusters"


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """While clusters are made or removed, so that nobody takes one for abandoned meanwhile."""
    with locked(_runs() / ".lock"):
        if _runs().stat().st_uid != os.geteuid():
            raise PermissionError(f"{_runs()} is somebody else's")
        yield


def sweep() -> None:
    """Remove the clusters whose owners have ended without stopping them."""
    for run in _runs().glob("zenml-*"):
        try:
            owner = tuple(json.loads((run / "owner.json").read_text()))
        except (OSError, ValueError):
            owner = (0, 0)
        if not _processes.is_alive(owner):
            _clean(run)


def _clean(run: Path) -> None:
    _processes.end(run)
    _machine.remove_network(run.name)
    _machine.remove_control_group(run.name)
    remove(run)
