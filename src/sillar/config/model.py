"""What all configuration models share: frozen, no unknown keys, every fault said with its remedy."""

from __future__ import annotations

from typing import Annotated, Any, NoReturn, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.functional_validators import ModelWrapValidatorHandler

from sillar.config.faults import faults_of, in_our_words
from sillar.errors import ConfigurationError

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class SealedDict(dict[_Key, _Value]):
    """A dict that refuses to be changed: a configuration stays what was checked."""

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("a configuration is frozen: build a new one instead of changing this table")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)


Sealed = Annotated[dict[_Key, _Value], AfterValidator(SealedDict)]
"""A table in a configuration model."""


class ConfigurationModel(BaseModel, frozen=True):
    """The parent of all configuration models.

    Constructing one with wrong values raises ``ConfigurationError`` with every fault. ``model_validate`` (and so any
    pydantic model of a host application that contains one) raises pydantic's ``ValidationError`` with the same words
    and without the input values.
    """

    model_config = ConfigDict(
        extra="forbid",
        hide_input_in_errors=True,
        validate_default=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )

    def __init__(self, /, **settings: Any) -> None:
        refused: ValidationError | None = None
        try:
            super().__init__(**settings)
        except ValidationError as error:
            refused = error
        if refused is not None:
            # Outside the except block: pydantic's error holds the inputs, passwords among them, and stays behind.
            raise ConfigurationError(faults_of(refused, lambda path: f"{type(self).__name__}(…)"))

    # Says that validating a nested model needs no call of __init__, as BaseModel's own does: its faults are collected.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @model_validator(mode="wrap")
    @classmethod
    def _in_our_words(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(value)
        except ValidationError as error:
            refused = in_our_words(error, cls.model_fields)
        raise refused
