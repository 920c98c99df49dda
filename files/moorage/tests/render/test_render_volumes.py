"""Whose the volumes of a stack are, and where what is mounted comes from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from moorage.release.manifest import Directory, Place, Seed

Render = Callable[..., Any]
DATA = "/opt/shop/data/data"


def test_a_volume_of_nobody_in_numbers_is_its_images(render: Render) -> None:
    found = render(
        "services: {web: {image: nginx, volumes: ['data:/www:ro']},"
        " app: {image: php, user: www-data, volumes: ['data:/var/www']},"
        " db: {image: pg, volumes: ['db:/db']}}\n"
        "volumes: {data: , db: {x-moorage: {mode: '0700'}}}",
        topology="containers",
        image_refs={"nginx": "nginx:1"},
    ).rendering
    # Who writes there comes first.
    assert found.seeds == (
        Seed(DATA, "php", "/var/www", "www-data"),
        Seed(DATA, "nginx:1", "/www"),
        Seed("/opt/shop/data/db", "pg", "/db", mode="700"),
    )
    assert found.volumes[0] == Directory(DATA, 0, 0, "0700")


def test_root_and_numbers_need_no_image(render: Render) -> None:
    text = (
        "services: {a: {image: x, user: USER, volumes: ['data:/d']}, b: {image: y, volumes:"
        " ['data:/d']}}\nvolumes: {data: }"
    )
    for user, pair in (("root", (0, 0)), ("'7:8'", (7, 8)), ("'7'", (7, 0))):
        found = render(text.replace("USER", user), topology="containers").rendering
        assert found.volumes == (Directory(DATA, *pair, "0750"),) and not found.seeds


def test_a_root_beside_a_user_leaves_it_to_him(render: Render, refused: Render) -> None:
    text = (
        "services: {a: {image: x, user: '0:0', volumes: ['data:/d']}, b: {image: y, user: '7:7',"
        " volumes: ['data:/d']}, c: {image: y, user: '8:8', volumes: ['OTHER:/d']}}\n"
        "volumes: {data: , other: }"
    )
    found = render(text.replace("OTHER", "other"), topology="containers").rendering
    assert found.volumes[0] == Directory(DATA, 7, 7, "0750")
    assert list(refused(text.replace("OTHER", "data"), topology="containers")) == ["volumes.data"]


def test_a_setting_says_whose_a_volume_is(render: Render, refused: Render) -> None:
    text = "services: {a: {image: x, user: '1:1', volumes: ['data:/d']}}\nvolumes: {data: }"
    found = render(text, topology="containers", volume_owners={"data": "5:6"}).rendering
    assert found.volumes == (Directory(DATA, 5, 6, "0750"),)
    wrong = refused(text, topology="containers", volume_owners={"date": "5:6"})
    assert "did you mean 'data'" in wrong["settings.volume_owners.date"].advice


def test_processes_have_no_images(refused: Render) -> None:
    text = (
        "services: {a: {image: 'postgres:17', user: postgres, volumes: ['data:/d']}}\n"
        "volumes: {data: }"
    )
    assert refused(text, topology="host")


def test_a_secret_of_an_images_user(render: Render) -> None:
    found = render(
        "services: {a: {image: x, secrets: [s]}, b: {image: x, user: '5:5', secrets: [s]}}\n"
        "secrets: {s: {file: f}}",
        topology="containers",
    )
    assert found.rendering.secrets[0].users == (-1, 5)
    mounts = {name: entry["volumes"][0]["source"] for name, entry in found.services.items()}
    assert mounts == {"a": "/opt/shop/secrets/for/any/s", "b": "/opt/shop/secrets/for/5/s"}


def test_paths_of_the_host_are_named(render: Render) -> None:
    found = render(
        "services: {a: {image: x, volumes: ['/srv/m:/m:ro', '/etc/localtime:/l:ro', {type: bind,"
        " source: /srv/n, target: /n, bind: {create_host_path: false}}]},"
        " b: {image: x, volumes: ['/srv/m:/m']}}",
        topology="containers",
    )
    assert found.rendering.places == (
        Place("/etc/localtime", make=True, read_only=True),
        Place("/srv/m", make=True, read_only=False),
        Place("/srv/n", make=False, read_only=False),
    )
    assert [n for n in found.rendering.notes if "is made" in n] == [
        "/srv/m is made, as root's, on a host that does not have it"
    ]
    for mount in found.services["a"]["volumes"]:
        assert mount["bind"]["create_host_path"] is False


def test_a_path_below_one_that_another_writes_is_refused(refused: Render) -> None:
    text = (
        "services: {a: {image: x, volumes: ['/srv/m:/m']}, b: {image: x, volumes:"
        " ['/srv/m/films:/f', '/srv/music:/g']}}"
    )
    assert list(refused(text, topology="containers")) == ["services.b.volumes[0]"]


@pytest.mark.parametrize("source", ["/opt/shop", "/opt/shop/data/x", "/opt", "/opt/moorage/keys"])
def test_neither_its_own_directory_nor_moorages(refused: Render, source: str) -> None:
    text = f"services: {{a: {{image: x, volumes: ['{source}:/m']}}}}"
    assert list(refused(text, topology="containers")) == ["services.a.volumes[0]"]


def test_a_volume_without_a_name_gets_one_that_stays(render: Render) -> None:
    text = (
        "services: {a: {image: x, user: '1:1', volumes: [/var/mail, {type: volume, target:"
        " /var-mail}]}}"
    )
    found = render(text, topology="containers")
    sources = [mount["source"] for mount in found.services["a"]["volumes"]]
    assert sources[0] == "/opt/shop/data/a-var-mail"
    assert sources[1].startswith("/opt/shop/data/a-var-mail-")
    assert [volume.path for volume in found.rendering.volumes] == sources
    again = render(text, topology="containers")
    assert [mount["source"] for mount in again.services["a"]["volumes"]] == sources


def test_volumes_that_only_lead_elsewhere(render: Render, refused: Render) -> None:
    text = (
        "services: {a: {image: x, user: '1:1', volumes: ['disk:/d', 'memory:/m', 'old:/o:z']}}\n"
        "volumes: {disk: {driver_opts: {type: none, o: bind, device: DEVICE}},"
        " old: {external: true},"
        " memory: {driver_opts: {type: tmpfs, device: tmpfs, o: 'size=5m,uid=1'}}}"
    )
    found = render(text.replace("DEVICE", "/srv/disk"), topology="containers")
    disk, memory, old = found.services["a"]["volumes"]
    assert disk["source"] == "/srv/disk" and disk["bind"] == {"create_host_path": False}
    assert found.rendering.places == (Place("/srv/disk", make=False, read_only=False),)
    assert memory == {"type": "tmpfs", "target": "/m", "tmpfs": {"size": str(5 << 20)}}
    assert old["source"] == "/opt/shop/data/old"
    assert "volumes.old: is external" in "".join(found.rendering.notes)
    for device in ("/run", "/opt/shop/secrets", "/opt/moorage/keys", "../beside"):
        wrong = refused(text.replace("DEVICE", device), topology="containers")
        assert list(wrong) == ["services.a.volumes[0]"]
    nfs = text.replace("type: none, o: bind", "type: nfs, o: addr=192.0.2.1")
    assert list(refused(nfs, topology="containers")) == ["volumes.disk"]


def test_what_compose_takes_as_a_number_alone(
    render: Render, compose_config: Callable[[str], dict[str, Any]]
) -> None:
    found = render(
        "services: {a: {image: x, mem_limit: -1, memswap_limit: -1, mem_reservation: 64m,"
        " shm_size: 64m, gpus: all, blkio_config: {weight: 300, device_read_bps: [{path: /dev/sda,"
        " rate: 12mb}]}}, b: {image: x, deploy: {resources: {reservations: {devices: [{driver: d,"
        " count: all, capabilities: [gpu]}]}}}}}",
        topology="containers",
    )
    read = compose_config(found.text)["services"]
    assert read["a"]["memswap_limit"] == "-1" and "mem_limit" not in read["a"]
    assert read["a"]["deploy"]["resources"]["limits"].keys() == {"pids"}
    devices = {name: read[name]["deploy"]["resources"]["reservations"]["devices"] for name in "ab"}
    assert devices == {
        "a": [{"capabilities": ["gpu"], "count": -1}],
        "b": [{"capabilities": ["gpu"], "count": -1, "driver": "d"}],
    }
