"""The golden driver itself: what passes, what fails, what is expected to fail."""

import json

import pytest
import torch
from safetensors.torch import save_file

from ...support import goldens


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGFOUNDRY_GOLDENS", str(tmp_path))
    goldens._cases.cache_clear()
    goldens._run.cache_clear()
    monkeypatch.setattr(goldens, "_RUNNERS", {})
    yield tmp_path
    goldens._cases.cache_clear()
    goldens._run.cache_clear()


def write(folder, name, **info):
    (folder / "toy").mkdir(exist_ok=True)
    (folder / "toy" / f"{name}.json").write_text(json.dumps({"config": {"factor": 3}, "class": "Scaler", **info}))
    tensors = {"param/bias": torch.ones(2), "in/x": torch.tensor([1.0, 2.0]), "out/y": torch.tensor([4.0, 7.0])}
    save_file({**tensors, "out/z": torch.tensor([True])}, folder / "toy" / f"{name}.safetensors")


def run(pending=None):
    """Returns test id -> (why it is expected to fail or None, the error raised or None)."""
    results = {}
    for param in goldens.parametrize("toy", pending or {}).args[1]:
        reasons = [mark.kwargs["reason"] for mark in param.marks]
        error = None
        try:
            goldens.check(*param.values)
        except Exception as caught:
            error = caught
        results[param.id] = (reasons[0] if reasons else None, error)
    return results


def scaler(case):
    return {"y": case.config["factor"] * case.group("in")["x"] + case.group("param")["bias"], "z": torch.tensor([True])}


def test_cases_are_found_by_name_or_class_and_compared(folder):
    goldens.runner("toy", "scaler*", "Scaler")(scaler)
    write(folder, "scaler_small")
    write(folder, "another_name")
    assert run() == {
        f"golden-toy-{case}-{output}": (None, None) for case in ("another_name", "scaler_small") for output in "yz"
    }


def test_unknown_case_and_empty_folder_fail(folder):
    (empty,) = run().values()
    assert isinstance(empty[1], AssertionError) and "no golden cases" in str(empty[1])
    goldens._cases.cache_clear()
    write(folder, "mystery", **{"class": "Unheard"})
    assert all(reason is None and "no runner" in str(error) for reason, error in run().values())


@pytest.mark.parametrize(("lost", "outputs"), [("json", "yz"), ("safetensors", ["(no outputs)"])])
def test_half_a_case_fails(folder, lost, outputs):
    goldens.runner("toy", "*")(scaler)
    write(folder, "scaler")
    (folder / "toy" / f"scaler.{lost}").unlink()
    results = run()
    assert set(results) == {f"golden-toy-scaler-{output}" for output in outputs}
    assert all(reason is None and isinstance(error, FileNotFoundError) for reason, error in results.values())


def test_only_unbuilt_outputs_may_stand_in_the_table(folder):
    goldens.runner("toy", "*")(lambda case: {"y": torch.zeros(2)})
    write(folder, "scaler")
    results = run({"scaler/*": "later"})
    assert all(reason == "later" for reason, _ in results.values())
    wrong, missing = (results[f"golden-toy-scaler-{output}"][1] for output in "yz")
    assert isinstance(missing, goldens.NotBuilt)
    # A computed but wrong output is not what the table excuses.
    assert isinstance(wrong, AssertionError) and not isinstance(wrong, goldens.NotBuilt)
    assert goldens.stale_patterns("toy", {"scaler/z": "", "scaler/gone": ""}) == ["scaler/gone"]


def test_modules_may_share_the_cases_of_a_system(folder):
    for name in ("scaler", "other_small", "other_large"):
        write(folder, name)
    params = goldens.parametrize("toy", {}, ("scaler", "*_small")).args[1]
    assert {param.values[0].name for param in params} == {"scaler", "other_small"}


@pytest.mark.parametrize(
    ("tol", "passes"),
    [
        (None, False),
        (1e-3, True),
        ({"y": 1e-3}, True),
        ({"x": 1e-3}, False),
        ({"rtol": 1e-4, "atol": 0.0}, True),
        ({"rtol": 0.0, "atol": 1e-4}, False),
    ],
)
def test_tolerance_comes_from_the_case(folder, tol, passes):
    goldens.runner("toy", "*")(lambda case: {"y": torch.tensor([4.0, 7.0005])})
    write(folder, "scaler", **({} if tol is None else {"tol": tol}))
    assert (run()["golden-toy-scaler-y"][1] is None) == passes


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (torch.zeros(2), torch.zeros(3)),
        (torch.tensor([1.0, float("nan")]), torch.tensor([1.0, 1.0])),
        (torch.tensor([1.0, 1.0]), torch.tensor([1.0, float("inf")])),
        (torch.tensor([1, 2]), torch.tensor([1, 3])),
        (torch.tensor([1e-12]), torch.tensor([0.0])),
    ],
)
def test_differences_are_seen(actual, expected):
    with pytest.raises(AssertionError):
        goldens.assert_close(actual, expected, 1e-5, "t")


def test_names_and_notes_are_read(folder):
    write(folder, "scaler", notes="y = x[:, ::3]; every 11th token")
    case = goldens.find("toy", "scaler")
    assert case.numbers(r"in/(\d+)_(\d+)", ["in/12_3", "in/4_5", "in/12_3", "in/4_x"]) == [(4, 5), (12, 3)]
    assert case.numbers("[yz]") == [()] and case.numbers(r"y(\d)") == []
    assert case.noted(r"every (\d+)th") == ("11",)
    with pytest.raises(goldens.NotBuilt, match="do not say"):
        case.noted(r"every (\d+)th row")


def test_a_value_that_there_is_no_code_for_is_named():
    goldens.only({"bias": True}, bias=True, norm="GN")
    with pytest.raises(goldens.NotBuilt, match="bias is False; there is code for True only"):
        goldens.only({"bias": False}, bias=True)


def test_tests_over_the_names_in_a_missing_json_fail(folder):
    write(folder, "scaler", runs={"a": {"b": 1, "c": 2}})
    assert goldens.keys(goldens.find("toy", "scaler"), "runs", "a") == ["b", "c"]
    missing = goldens.find("toy", "gone")
    assert len(goldens.keys(missing, "runs")) == 1
    with pytest.raises(FileNotFoundError, match=r"gone\.json"):
        missing.info.get("runs")
