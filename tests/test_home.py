"""A team's home, all of it on loopback: two people train at once, and a third finds everything.

The long form, four trainings while PostgreSQL and the S3 server are killed, is in the faults:
`make test-faults ARGS='--only home'`.
"""

import pytest
import requests

import team_home
from conftest import git
from teamwork import Team, counted, told

REASON = team_home.missing()
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)
EXPERIMENTS = {"ada": ["ada-1"], "grace": ["grace-1"]}
SHORTER = ("-S", "train.steps=20", "-S", "train.game_start=0.5")


@pytest.fixture(scope="module")
def home():
    with team_home.home() as everything:
        yield everything


@pytest.fixture(scope="module")
def team(home, tmp_path_factory):
    """Whose two members have trained, and pushed."""
    team = Team(tmp_path_factory.mktemp("team"), home)
    team.train(EXPERIMENTS, *SHORTER)
    return team


def test_everything_is_there_for_a_third(team):
    counts = counted(team, ["ada-1", "grace-1"])
    assert counts["runs"] == counts["versions"] == 2
    assert counts["points"] > 100 and counts["artifacts"] > 100 and counts["outputs pulled"] > 10


def test_no_password_is_told_to_anybody(team):
    assert told(team) == []
    local = (team.members["ada"].folder / ".dvc/config.local").read_text()
    assert team.key.secret in local  # which is why it is looked for everywhere else
    assert not git(team.members["ada"].folder, "status", "--porcelain", "--", ".dvc")


def test_without_a_password_nothing_is_seen(home):
    path = "/api/2.0/mlflow/experiments/search?max_results=1"
    assert requests.get(home.tracking.address + path, timeout=30).status_code == 401
    wrong = requests.get(home.tracking.address + path, auth=("ada", "wrong"), timeout=30)
    assert wrong.status_code == 401


def test_a_key_opens_its_own_bucket_alone(home, team):
    from botocore.exceptions import ClientError

    theirs = team.key.client(home.objects.address)
    assert theirs.list_objects_v2(Bucket="dvc")["KeyCount"] > 0
    for refused in (
        lambda: theirs.list_objects_v2(Bucket="mlflow"),
        lambda: theirs.put_object(Bucket="mlflow", Key="a", Body=b""),
        lambda: theirs.create_bucket(Bucket="another"),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            refused()


def test_the_servers_role_can_do_no_more_than_keep_its_databases(home):
    import psycopg2

    address = home.database.address("mlflow").replace("+psycopg2", "")
    connection = psycopg2.connect(address, password=home.database.password)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM runs")
        assert cursor.fetchone()[0] >= 0
        for refused in ("CREATE ROLE another", "CREATE DATABASE another"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(refused)
    connection.close()
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(address, password="wrong")
