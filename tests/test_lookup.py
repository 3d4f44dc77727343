"""From a name, a class, an instance or a config to an object, and nothing else."""

import numpy as np
import pytest

from minicnn import activations, initializers, losses, metrics, optimizers, regularizers
from minicnn.errors import ConfigError
from minicnn.lookup import class_named, resolve, table_of


def test_arrays_are_refused_in_a_line():
    with pytest.raises(ConfigError) as error:
        initializers.get(np.arange(4.0).reshape(2, 2))
    assert str(error.value) == (
        "initializer: expected a name, an Initializer or its class, got array([[0., 1.], [2., 3.]])."
    )
    with pytest.raises(ConfigError) as error:
        initializers.get(np.zeros((9, 9)))
    assert str(error.value).endswith("...")
    assert len(str(error.value)) < 150


@pytest.mark.parametrize("module", [initializers, regularizers, activations, losses, metrics, optimizers])
def test_arrays_are_no_names(module):
    with pytest.raises(ConfigError, match=r"array\(\[0\.1, 0\.2\]\)"):
        module.get(np.array([0.1, 0.2]))


class Animal:
    def __init__(self, legs=4):
        self.legs = legs

    @classmethod
    def from_config(cls, config):
        return cls(**config)


class WildCat(Animal):
    pass


class Dog(Animal):
    pass


class Bare:
    def __init__(self, legs=4):
        self.legs = legs


TABLE = table_of(WildCat, Dog, aliases={"hound": Dog})


def get(identifier, custom=None):
    return resolve("animal", Animal, TABLE, identifier, custom)


def test_the_table_has_both_spellings_and_aliases():
    expected = {"WildCat": WildCat, "wild_cat": WildCat, "Dog": Dog, "dog": Dog, "hound": Dog}
    assert expected == TABLE


@pytest.mark.parametrize(
    "identifier", ["WildCat", "wild_cat", WildCat, {"class_name": "WildCat"}, {"class_name": "wild_cat"}]
)
def test_what_makes_an_object(identifier):
    result = get(identifier)
    assert type(result) is WildCat
    assert result.legs == 4


def test_an_instance_is_itself_and_a_config_has_arguments():
    dog = Dog(3)
    assert get(dog) is dog
    config = {"class_name": "Dog", "config": {"legs": 3}}
    assert get(config).legs == 3
    assert config == {"class_name": "Dog", "config": {"legs": 3}}
    assert get({"class_name": "Dog", "config": None}).legs == 4


def test_custom_objects_come_first_and_must_be_of_the_kind():
    class Own(Animal):
        pass

    assert type(get("Own", {"Own": Own})) is Own
    assert type(get("Dog", {"Dog": Own})) is Own
    for wrong in (Bare, lambda: None, Own()):
        with pytest.raises(ConfigError, match=r"custom_objects\['Own'\] must be a subclass of Animal"):
            get("Own", {"Own": wrong})


@pytest.mark.parametrize(
    "identifier", [None, 3, object, Bare, Bare(), {"config": {}}, {"class_name": 3}, ["Dog"], b"Dog"]
)
def test_everything_else_is_refused(identifier):
    with pytest.raises(ConfigError, match="animal: expected a name, an Animal or its class, got"):
        get(identifier)


def test_functions_are_refused():
    with pytest.raises(ConfigError, match="expected a name, an Animal or its class, got <function"):
        get(lambda x: x)


def test_a_config_with_a_wrong_key_is_refused():
    with pytest.raises(ConfigError, match=r"animal: Dog cannot be made from \{'wings': 2\}"):
        get({"class_name": "Dog", "config": {"wings": 2}})


def test_unknown_names_get_a_suggestion_and_the_list():
    with pytest.raises(ConfigError) as error:
        get("wildcat")
    assert str(error.value).startswith("animal: unknown name 'wildcat'; did you mean")
    assert "Known: dog, hound, wild_cat." in str(error.value)
    with pytest.raises(ConfigError) as error:
        class_named("animal", Animal, {"WildCat": WildCat, "Dog": Dog}, "Wolf")
    assert str(error.value) == "animal: unknown name 'Wolf'. Known: Dog, WildCat."
    with pytest.raises(ConfigError, match=r"animal: unknown name 'os\.system'\. Known"):
        class_named("animal", Animal, TABLE, "os.system")


@pytest.mark.parametrize(
    ("identifier", "message"),
    [
        ("cow", "Farm 'farm_2': animal: unknown name 'cow'. Known: dog, hound, wild_cat."),
        (3, "Farm 'farm_2': animal: expected a name, an Animal or its class, got 3."),
        ({"class_name": "cow"}, "Farm 'farm_2': animal: unknown name 'cow'. Known: dog, hound, wild_cat."),
    ],
)
def test_messages_begin_with_the_owner(identifier, message):
    with pytest.raises(ConfigError) as error:
        resolve("animal", Animal, TABLE, identifier, None, "Farm 'farm_2': animal")
    assert str(error.value) == message


@pytest.mark.parametrize("module", [activations, initializers, regularizers])
def test_every_get_of_a_layers_arguments_takes_an_owner(module):
    for identifier in ("foo", 7, lambda x: x):
        with pytest.raises(ConfigError, match=r"^Conv2D 'conv2d_3': argument: "):
            module.get(identifier, owner="Conv2D 'conv2d_3': argument")
