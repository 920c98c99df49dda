"""What the deployment says, and what it must not tell."""

from pathlib import Path

import pytest
from tg2em_core.environment import ConfigurationError, DatabaseConfig, read_secret


def test_a_secret_comes_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("s3cret\n")
    assert read_secret({"KEY_FILE": str(file), "KEY": "another"}, "KEY") == "s3cret"
    assert read_secret({"KEY": "plain"}, "KEY") == "plain"


def test_a_missing_secret_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="KEY_FILE"):
        read_secret({}, "KEY")
    missing = str(tmp_path / "nothing")
    with pytest.raises(ConfigurationError, match="nothing"):
        read_secret({"KEY_FILE": missing}, "KEY")
    assert read_secret({"KEY_FILE": missing}, "KEY", "") == ""


def test_the_database_s_place() -> None:
    config = DatabaseConfig.from_environment(
        {"DATABASE_HOST": "mysql", "DATABASE_PORT": "3307", "DATABASE_PASSWORD": "p@ss/word"}
    )
    assert (config.host, config.port, config.name) == ("mysql", 3307, "tg2em")
    assert config.url.password == "p@ss/word"
    assert "p@ss" not in str(config.url) + repr(config)


def test_a_port_that_is_no_number() -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_PORT"):
        DatabaseConfig.from_environment({"DATABASE_PORT": "x", "DATABASE_PASSWORD": "p"})
