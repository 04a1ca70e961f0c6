"""SweepConfig: a grid with a name, notebooks and folders, read from a YAML file."""

import os
from pathlib import Path
from typing import Annotated, Any

import pydantic
import yaml

from cprlab.catalogue import BUILTIN
from cprlab.catalogue.local import located
from cprlab.config import SEVERAL
from cprlab.errors import ConfigError, CprlabError
from cprlab.files import refuse_unreadable
from cprlab.loading.load import check_file
from cprlab.sweeps.grid import Grid
from cprlab.training.loop import Device

LONGEST = 100_000  # characters of a settings file, which take a second to read


class SweepConfig(Grid):
    """Settings of `cprlab sweep`. Paths become absolute, since workers may run in other folders."""

    name: str = pydantic.Field(description="The sweep's name; the report goes to `reports/` and this name.")
    notebooks: Annotated[tuple[str, ...], SEVERAL] = pydantic.Field(
        (), description="Numbered notebooks to run over the trained models, once for each encoder."
    )
    device: Device = pydantic.Field("auto", description="Where each worker trains")
    runs: str = pydantic.Field(
        "runs", validate_default=True, description="Folder where trained models are kept and found again."
    )
    out: str = pydantic.Field("", description="The report's folder, if it is to be another one.")

    @pydantic.field_validator("settings", mode="before")
    @classmethod
    def _one_value_is_enough(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: of_one if isinstance(of_one, (list, tuple)) else (of_one,) for name, of_one in value.items()}

    @pydantic.field_validator("name")
    @classmethod
    def _is_a_folder(cls, name: str) -> str:
        if not name or name != Path(name).name or name.startswith(".") or "\0" in name:
            raise ValueError("a sweep's name must be a folder name, without slashes or a leading dot")
        return name

    @pydantic.field_validator("notebooks")
    @classmethod
    def _once(cls, notebooks: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(name.removesuffix(".ipynb") for name in notebooks)
        if len(set(names)) < len(names):
            raise ValueError("a notebook is named twice")
        return names

    @pydantic.field_validator("data")
    @classmethod
    def _absolute(cls, data: tuple[str, ...]) -> tuple[str, ...]:
        for name in data:
            if name not in BUILTIN and not os.path.isdir(located(name)):
                check_file(Path(located(name)))
        return tuple(name if name in BUILTIN else os.path.abspath(located(name)) for name in data)

    @pydantic.field_validator("runs")
    @classmethod
    def _absolute_runs(cls, runs: str) -> str:
        return os.path.abspath(runs)

    @property
    def folder(self) -> Path:
        """The report's folder."""
        return Path(self.out or Path("reports") / self.name)

    @property
    def grid(self) -> Grid:
        """The grid only."""
        return Grid(**{field: getattr(self, field) for field in Grid.model_fields})


def read_sweep(path: Path | str) -> SweepConfig:
    """Read a sweep from a YAML file.

    Raises:
        ConfigError: the file is missing or not YAML, or a setting is unknown, missing or of the wrong type; the message
            names the file.
    """
    values = read_yaml(path)
    try:
        return SweepConfig(**values)
    except CprlabError as error:
        raise ConfigError(f"{path}: {error}") from None


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Return the names and values of a YAML file.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or is not a mapping with unique names.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        if len(text) > LONGEST:
            raise ConfigError(f"{path} has {len(text):,} characters; a settings file has at most {LONGEST:,}.")
        values = yaml.load(text, _Plain)  # noqa: S506  # a kind of safe loader
    except OSError as error:
        refuse_unreadable(Path(path), error)
        raise ConfigError(f"{path} cannot be read ({error.strerror}); check the name.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{path} cannot be read as YAML{where}: {problem}.") from None
    except RecursionError:
        raise ConfigError(f"{path} cannot be read as YAML: it is nested too deeply.") from None
    except (ValueError, TypeError, OverflowError) as error:  # an impossible date, number or key
        raise ConfigError(f"{path} cannot be read as YAML: {error}.") from None
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ConfigError(f"{path} does not contain names with values; write lines like `name: value`.")
    return values


class _Plain(yaml.SafeLoader):
    """PyYAML's safe loader, which runs no code, without duplicate keys and without references.

    By default, the last of two equal keys wins, and a few lines of references can expand to any amount of values.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.get_event()
            problem = f"*{event.anchor} is a reference; write out the value instead"
            raise yaml.constructor.ConstructorError(None, None, problem, event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for place, (key, _) in enumerate(node.value):
            if key.value in names[:place]:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is there twice", key.start_mark)
        return super().construct_mapping(node, deep)
