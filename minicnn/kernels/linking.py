"""Numba's compiler for kernels, which makes machine code of the kernel alone, not of its parts as well.

A kernel is compiled along with its parts: helpers, the bodies of its parallel loops and the two wrappers that Numba
puts around each of them. Numba treats every part as a function that may be called on its own: it optimizes each,
with all that is linked into it, and generates its machine code, which nobody runs, for the kernel holds a copy. Here
parts are linked as they are, and the kernel is optimized once, as a whole. LeNet-5's first step compiles for 20
seconds so, and for 35 without it (in turn, three times each, on a slow day); the kernels are as fast and give the same
bits.

What is kept of a kernel on disk is its machine code and the names in it. Numba keeps the whole program besides, for
functions that link it, and reads it with every kernel; nothing links a kernel.

jit.py imports this when it compiles the first kernel. A compiler class given to njit is Numba's own way in (its
developer manual, "Customizing the compiler"); what makes a library a part is private to Numba, so that a version newer
than those tried gets its own compiler. Helpers must not call themselves.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
from llvmlite import binding, ir
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler

from minicnn.kernels.jit import notice_of_compiling

TRIED = (0, 68)
"""The newest version of Numba that this was tried with."""


def compiler() -> type[Any]:
    """KernelCompiler; where that may not work, Numba's own, which the user is told of as well."""
    version: tuple[int, int] = numba.version_info.short
    return KernelCompiler if version <= TRIED else NoticedCompiler


class NoticedCompiler(Compiler):  # type: ignore[misc]
    """Numba's compiler; the user is told if it takes long. Numba does not call it for what its cache holds."""

    def compile_extra(self, func: Callable[..., Any]) -> Any:
        with notice_of_compiling():
            return super().compile_extra(func)


class KernelCompiler(NoticedCompiler):
    """Numba's compiler; what it makes on the way to the kernel's own library are parts.

    Numba calls compile_extra with its compiler's lock held, so that no other thread's function becomes a part.
    """

    def compile_extra(self, func: Callable[..., Any]) -> Any:
        codegen = self.state.targetctx.codegen()
        self.state.library = _Kernel(codegen, func.__qualname__)
        self.state.library.enable_object_caching()
        with _libraries_are_parts(codegen):
            result = super().compile_extra(func)
        for environment in result._find_referenced_environments():  # of parts, as Numba does on reading its cache
            codegen.set_env(environment.env_name, environment)
        return result


@contextmanager
def _libraries_are_parts(codegen: Any) -> Iterator[None]:
    whole = codegen._library_class
    codegen._library_class = _Part
    try:
        yield
    finally:
        codegen._library_class = whole


class _Kernel(JITCodeLibrary):  # type: ignore[misc]
    """A library that no other links."""

    def serialize_using_object_code(self) -> tuple[str, str, tuple[bytes, bytes]]:
        """What Numba's cache keeps; it is read as Numba's own."""
        return self.name, "object", (self._get_compiled_object(), _names_alone(self._final_module).as_bitcode())


def _names_alone(module: Any) -> Any:
    """A module that defines the same names, each as nothing: what Numba looks up in a library that it has read."""
    nothing = ir.Module()
    for function in module.functions:
        if not function.is_declaration:
            body = ir.Function(nothing, ir.FunctionType(ir.VoidType(), []), function.name)
            ir.IRBuilder(body.append_basic_block()).ret_void()
    for variable in module.global_variables:
        if variable.name and not variable.is_declaration:
            ir.GlobalVariable(nothing, ir.IntType(8), variable.name).initializer = ir.IntType(8)(0)
    return binding.parse_assembly(str(nothing))


class _Part(JITCodeLibrary):  # type: ignore[misc]
    """A library that others link: it has no machine code, so no address of a function."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        return 0

    @property
    def codegen(self) -> Any:
        return _NoEnvironments


class _NoEnvironments:
    """Stands for the codegen where Numba tells a function's machine code of its globals: there is none to tell."""

    @staticmethod
    def set_env(name: str, environment: Any) -> None:
        pass
