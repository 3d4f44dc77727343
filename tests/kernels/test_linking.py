"""A kernel's parts have no machine code of their own; all else that Numba compiles has."""

import numba
import numpy as np
import pytest
from llvmlite import binding

from minicnn.kernels import jit
from minicnn.kernels.jit import inlined, prange
from minicnn.kernels.linking import KernelCompiler, NoticedCompiler, _Part, compiler


@pytest.fixture(autouse=True)
def nothing_is_cached(monkeypatch):
    """What a cache holds need not be compiled."""
    monkeypatch.setattr(jit, "cached_if_possible", lambda compile_it: compile_it(False))


@inlined
def three_times(x):
    return 3 * x


def loops(x):
    y = np.zeros_like(x)
    for k in prange(x.size):
        y[k] = three_times(x[k]) + 1
    return y


def libraries(dispatcher):
    return [result.library for result in dispatcher.overloads.values()]


def addresses(dispatcher):
    return [r.library.get_pointer_to_function(r.fndesc.llvm_func_name) for r in dispatcher.overloads.values()]


@pytest.mark.parametrize("parallel", [True, False])
def test_only_the_kernel_becomes_machine_code(parallel, monkeypatch):
    monkeypatch.setitem(jit._inlined, three_times, None)
    run = jit._compile(loops, parallel)
    for dtype in (np.float32, np.float64):
        x = np.arange(100, dtype=dtype)
        np.testing.assert_array_equal(run(x), 3 * x + 1)
    helper = jit._inlined[three_times]
    assert len(libraries(run)) == len(libraries(helper)) == 2
    assert all(type(library) is _Part for library in libraries(helper))
    assert not any(addresses(helper))
    assert not any(isinstance(library, _Part) for library in libraries(run))
    assert all(addresses(run))


def test_the_cache_holds_machine_code_and_names_alone():
    """The names with which Numba finds the kernel and the globals of its parts."""
    run = jit._compile(telling_loops, True)
    run(np.zeros(1))
    (library,) = libraries(run)
    _, kind, (code, names) = library.serialize_using_object_code()
    assert kind == "object"
    assert code == library._get_compiled_object()
    assert len(names) < len(library._final_module.as_bitcode()) / 2
    defined = {function.name for function in library.get_defined_functions()}
    kept = binding.parse_bitcode(names)
    assert {function.name for function in kept.functions if not function.is_declaration} == defined
    assert any("NumbaEnv" in variable.name for variable in kept.global_variables)


def test_two_kernels_share_a_part(monkeypatch):
    monkeypatch.setitem(jit._inlined, three_times, None)
    first, second = jit._compile(loops, True), jit._compile(loops, False)
    x = np.arange(10.0)
    np.testing.assert_array_equal(first(x), second(x))
    assert len(libraries(jit._inlined[three_times])) == 1


@numba.extending.register_jitable(**jit._OPTIONS)
def of_kernels_and_callers(x):
    return x + 5


def loops_with_a_shared_part(x):
    y = np.empty_like(x)
    for k in prange(x.size):
        y[k] = of_kernels_and_callers(x[k])
    return y


def test_the_callers_functions_become_machine_code_after_a_kernel():
    """Though they link what was made as a part of the kernel."""
    np.testing.assert_array_equal(jit._compile(loops_with_a_shared_part, False)(np.ones(3)), [6, 6, 6])

    @numba.njit(**jit._OPTIONS)
    def function(x):
        return of_kernels_and_callers(x[0])

    assert function(np.ones(3)) == 6
    assert all(addresses(function))
    (library,) = libraries(function)
    assert not isinstance(library, _Part)
    assert any(isinstance(linked, _Part) for linked in library._linking_libraries)


def test_where_a_kernel_cannot_be_compiled_the_callers_functions_can():
    with pytest.raises(numba.TypingError):
        jit._compile(loops, True)("no array")
    function = numba.njit(lambda x: x + 1)
    assert function(1) == 2
    assert not any(isinstance(library, _Part) for library in libraries(function))


@inlined
def told(x):
    print("told", x)
    return x


def telling_loops(x):
    for k in prange(x.size):
        x[k] = told(x[k]) + 1


def test_parts_know_their_globals(capfd):
    """What print needs, and exceptions with arguments."""
    x = np.array([4.0])
    jit._compile(telling_loops, True)(x)
    assert x.item() == 5
    assert capfd.readouterr().out == "told 4.0\n"


def test_a_newer_numba_compiles_as_it_likes(monkeypatch):
    assert compiler() is KernelCompiler
    monkeypatch.setattr(numba, "version_info", numba.version_info._replace(short=(0, 1000)))
    assert compiler() is NoticedCompiler
    np.testing.assert_array_equal(jit._compile(loops, True)(np.ones(2)), [4, 4])
