"""Job files of `sweep write`, held against the engines' own published schemas."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from mammo_aln.errors import InputError
from mammo_aln.settings import ClusterConfig, DataConfig, Settings, TrainerConfig
from mammo_aln.sweeps.engines.jobs import JobList, Resources, job_lists, read_list, write_list
from mammo_aln.sweeps.engines.kubernetes import kubernetes_file, read_volumes
from mammo_aln.sweeps.engines.ray_tasks import ray_file
from mammo_aln.sweeps.engines.skypilot import launch_command, skypilot_file
from mammo_aln.sweeps.freezing import freeze
from mammo_aln.sweeps.plan import Cell, Plan

SCHEMAS = json.loads((Path(__file__).parents[1] / "data" / "skypilot_schemas.json").read_text())
BASE = Settings()
ON_GPU = replace(BASE, trainer=TrainerConfig(accelerator="gpu", devices=2), data=DataConfig(num_workers=7))
ON_CPU = replace(BASE, trainer=TrainerConfig(accelerator="cpu"), data=DataConfig(num_workers=0))


def cell(run_id: str, settings: Settings = ON_GPU) -> Cell:
    return Cell(run_id, {"crop.strategy": run_id}, {"crop.strategy": run_id}, 0, None, settings)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    cells = (*(cell(f"{number:012x}") for number in range(5)), cell("c" * 12, ON_CPU))
    return freeze(Plan(tmp_path / "My Sweep", tmp_path / "cohort", None, "content", cells))


@pytest.fixture
def lists(plan: Plan) -> list[JobList]:
    lists = list(job_lists(plan, plan.cells, ClusterConfig(mem_gb=64)))
    for jobs in lists:
        write_list(jobs)
    return lists


def jobs_of(text: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(text))


@pytest.mark.parametrize("version", ["1.29", "1.31", "1.33", "1.35"])
def test_a_kubernetes_file_holds_to_the_published_schema(lists: list[JobList], version: str) -> None:
    import kubernetes_validate

    extra = {"nodeSelector": {"gpu": "h100"}, "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]}
    text = kubernetes_file(
        lists, image="registry/aln:1", volumes={Path("/data"): "data"}, retries=2, cluster=ClusterConfig(extra=extra)
    )
    jobs = jobs_of(text)
    assert len(jobs) == 2
    for job in jobs:
        kubernetes_validate.validate(job, version, strict=True)
    jobs[0]["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["value"] = 75
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(jobs[0], version, strict=True)


def test_each_index_of_a_job_is_one_cell_and_exit_code_75_counts_as_no_try(plan: Plan, lists: list[JobList]) -> None:
    text = kubernetes_file(
        lists, image="aln:1", volumes={Path("/data"): "claim"}, retries=3, cluster=ClusterConfig(max_jobs=2)
    )
    gpu, cpu = jobs_of(text)
    spec, pod = gpu["spec"], gpu["spec"]["template"]["spec"]
    assert spec["completionMode"] == "Indexed"
    assert (spec["completions"], spec["parallelism"], spec["backoffLimitPerIndex"]) == (5, 2, 3)
    # Kubernetes takes a pod failure policy with this restart policy alone, and backoffLimitPerIndex with indices alone.
    assert pod["restartPolicy"] == "Never"
    actions = {
        tuple(rule["onExitCodes"]["values"]): rule["action"]
        for rule in spec["podFailurePolicy"]["rules"]
        if "onExitCodes" in rule
    }
    assert actions == {(75,): "Ignore", (2,): "FailIndex"}
    (container,) = pod["containers"]
    assert all(
        rule["onExitCodes"]["containerName"] == container["name"]
        for rule in spec["podFailurePolicy"]["rules"]
        if "onExitCodes" in rule
    )
    assert container["command"][:3] == ["mammo-aln", "sweep", "work"]
    file = Path(container["command"][3])
    assert [cell.run_id for cell in read_list(file)[1]] == [f"{number:012x}" for number in range(5)]
    assert container["command"][4:] == ["--index", "$(JOB_COMPLETION_INDEX)"]
    assert container["resources"]["limits"] == {"memory": "64G", "nvidia.com/gpu": "2"}
    assert container["resources"]["requests"]["cpu"] == "16"
    assert {"name": "OMP_NUM_THREADS", "value": "1"} in container["env"]
    assert {"name": "MAMMO_ALN_LOCKS", "value": "lease"} in container["env"]
    # A pod that a drained node takes along is no try.
    conditions = [rule for rule in spec["podFailurePolicy"]["rules"] if "onPodConditions" in rule]
    assert [(rule["action"], rule["onPodConditions"][0]["type"]) for rule in conditions] == [
        ("Ignore", "DisruptionTarget")
    ]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    claims = {volume["name"]: volume.get("persistentVolumeClaim", {}).get("claimName") for volume in pod["volumes"]}
    assert claims[mounts["/data"]] == "claim"
    assert {"name": mounts["/dev/shm"], "emptyDir": {"medium": "Memory"}} in pod["volumes"]
    assert "nvidia.com/gpu" not in cpu["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    names = [job["metadata"]["name"] for job in (gpu, cpu)]
    assert len(set(names)) == 2
    assert all(name.startswith("aln-my-sweep-") and len(f"{name}-99999") <= 63 for name in names)


def test_the_same_cells_make_the_same_job_and_others_another(plan: Plan) -> None:
    first, again = (list(job_lists(plan, plan.cells, ClusterConfig())) for _ in range(2))
    assert first == again
    fewer = list(job_lists(plan, plan.cells[1:], ClusterConfig()))
    assert fewer[0].name != first[0].name
    assert fewer[1].name == first[1].name


def test_a_skypilot_file_holds_to_the_published_schema_and_recovers_on_75(lists: list[JobList]) -> None:
    import jsonschema

    cluster = ClusterConfig(extra={"accelerators": "H100", "use_spot": True}, max_jobs=3)
    for jobs in lists:
        cluster = cluster if jobs.resources.gpus else ClusterConfig()
        text = skypilot_file(jobs, image="aln:1", volumes={Path("/data"): "disk"}, retries=2, cluster=cluster)
        (task,) = jobs_of(text)
        jsonschema.Draft202012Validator(SCHEMAS["task"]).validate(task)
        jsonschema.Draft202012Validator(SCHEMAS["resources"]).validate(task["resources"])
        assert task["resources"]["job_recovery"]["recover_on_exit_codes"] == [75]
        assert task["volumes"] == {"/data": "disk"}
        assert task["run"] == f"exec mammo-aln sweep work '{jobs.file}' --retries 2\n"
        assert task["envs"]["MAMMO_ALN_LOCKS"] == "lease"
        assert task["resources"].get("accelerators") == ("H100:2" if jobs.resources.gpus else None)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMAS["task"]).validate({**task, "recover": True})
    assert launch_command(Path("x.yaml"), lists[0], ClusterConfig(max_jobs=3)).startswith("for n in $(seq 3); do sky ")


def test_a_gpu_without_a_name_is_refused(lists: list[JobList]) -> None:
    for extra in ({}, {"accelerators": "H100:8"}):
        with pytest.raises(InputError, match=r"expected the GPU's name as SkyPilot knows it"):
            skypilot_file(lists[0], image="aln:1", volumes={}, retries=2, cluster=ClusterConfig(extra=extra))


@pytest.mark.parametrize("field", ["containers", "volumes", "restartPolicy"])
def test_a_field_that_the_sweep_writes_is_refused(lists: list[JobList], field: str) -> None:
    with pytest.raises(InputError, match=rf"cluster.extra: {field} is written by the sweep"):
        kubernetes_file(lists, image="a", volumes={}, retries=2, cluster=ClusterConfig(extra={field: []}))
    with pytest.raises(InputError, match=r"cluster.extra: cpus is written"):
        skypilot_file(lists[1], image="a", volumes={}, retries=2, cluster=ClusterConfig(extra={"cpus": 8}))
    with pytest.raises(InputError, match=r"Ray's tasks take cores, GPUs and memory alone"):
        ray_file(lists, retries=2, cluster=ClusterConfig(extra={"cpus": 8}))


def test_cells_on_several_nodes_are_refused(plan: Plan) -> None:
    wide = cell("d" * 12, replace(ON_GPU, trainer=TrainerConfig(accelerator="gpu", num_nodes=2)))
    with pytest.raises(InputError, match=r"trainer.num_nodes=2: a job file trains each cell on one node"):
        list(job_lists(plan, [wide], ClusterConfig()))


def test_resources_come_from_the_settings_unless_cluster_says_so() -> None:
    assert Resources.of(ON_GPU, ClusterConfig()) == Resources(16, 1, 2, None)
    auto = replace(ON_GPU, data=DataConfig(num_workers="auto"))
    assert Resources.of(auto, ClusterConfig()) == Resources(18, 1, 2, None)
    assert Resources.of(replace(ON_CPU, data=DataConfig()), ClusterConfig(cpus_per_task=4)) == Resources(4, 4, 0, None)
    assert Resources.of(ON_CPU, ClusterConfig(mem_gb=4)) == Resources(1, 1, 0, 4)
    assert Resources.of(ON_GPU, ClusterConfig(cpus_per_task=4, gpus_per_node=0)) == Resources(8, 1, 0, None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], r"--out /data/out: on no volume of --volumes"),
        (["data"], r"--volumes data: expected NAME:/FOLDER"),
        (["data:relative"], r"--volumes data:relative: expected NAME:/FOLDER"),
        (["a:/data", "b:/data"], r"--volumes b:/data: a hangs there already"),
        (["a:/dat"], r"--out /data/out: on no volume of --volumes"),
    ],
)
def test_a_folder_that_no_node_would_see_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_volumes(words, {"--out": Path("/data/out")})
    assert read_volumes(["a:/data", "b:/other"], {"--out": Path("/data/out")}) == {
        Path("/data"): "a",
        Path("/other"): "b",
    }


def test_a_list_whose_cells_left_the_plan_is_refused(plan: Plan, lists: list[JobList]) -> None:
    lists[0].file.write_text("0" * 12 + "\n" + "e" * 12 + "\n")
    with pytest.raises(InputError, match="1 of 2 cells left the plan meanwhile"):
        read_list(lists[0].file)
    with pytest.raises(InputError, match="no such file"):
        read_list(plan.out / "jobs" / "none.cells")
