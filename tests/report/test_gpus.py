"""What is told of GPUs: every figure or its reason, the machine's in words, and the page that shows both."""

import io
from functools import partial

import pytest
from rich.console import Console
from selenium.webdriver.support.wait import WebDriverWait

from harness.analysis.gpu import READ_AS
from harness.report import environment, gpus
from harness.report.page.details import gpu_figures, gpu_table, gpus_there
from harness.report.page.page import page_html, write_page
from harness.report.table import print_table
from harness.schema.result import GpuProbe
from harness.schema.scenario import Server
from tests.report import factory, gpu_factory, samples
from tests.report.browser import choose, complaints, data_of, drawn, headings, requested, visit
from tests.report.gpu_factory import gpu

TWO, MIG = gpu_factory.run_on_two(), gpu_factory.run_on_mig()
PARTS = partial(gpu_factory.readings, devices=((0, None), (0, 3), (0, 5)))


# ---- where it ran ----


def test_a_gpu_that_was_not_used_is_not_where_it_ran():
    def ran_on(**changes):
        return environment.ran_on(
            TWO.model_copy(update={"environment": TWO.environment.model_copy(update=changes)})
        )

    assert ran_on().startswith("GPU: 2 × NVIDIA H200 (host: Intel")
    on_cpu = ran_on(execution_provider="CPUExecutionProvider")
    assert on_cpu.startswith("CPU:") and "(2 × NVIDIA H200 present and not used)" in on_cpu
    assert "(no GPU)" in ran_on(execution_provider="CPUExecutionProvider", gpus=())
    assert "not known" in ran_on(execution_provider=None)
    assert "2 × NVIDIA H200 present" in ran_on(execution_provider=None)


def test_only_the_gpus_that_some_point_may_use_are_where_it_ran():
    points = [
        p.model_copy(update={"point": p.point.model_copy(update={"server": settings})})
        for p, settings in zip(
            TWO.points, [TWO.points[0].point.server.model_copy(update={"gpus": (1,)})] * 2, strict=False
        )
    ]
    run = TWO.model_copy(update={"points": tuple(points)})
    assert environment.ran_on(run).startswith("GPU: NVIDIA H200 (host")
    assert environment.ran_on(MIG).startswith("GPU: NVIDIA H200 (host"), "MIG devices are parts of it"


def test_the_gpus_of_this_machine_are_not_those_of_a_server_elsewhere():
    def ran_on(url, source):
        where = TWO.environment.model_copy(update={"server_mode": "remote", "server_url": url})
        probe = GpuProbe(source=source, readings=9, interval_s=1.0, cpu_cores=None)
        points = tuple(p.model_copy(update={"gpu_probe": probe}) for p in TWO.points)
        return environment.ran_on(TWO.model_copy(update={"environment": where, "points": points}))

    for source in ("nvml", "another-vendor"):
        assert ran_on("http://10.0.0.7:8000", source).startswith("GPU: of an unknown kind")
    assert ran_on("http://10.0.0.7:8000", "remote probe").startswith("GPU: 2 × NVIDIA H200")
    assert ran_on("http://127.0.0.1:8000", "nvml").startswith("GPU: 2 × NVIDIA H200")
    assert ran_on("127.0.0.1:8000", "nvml").startswith("GPU: 2 × NVIDIA H200")


def test_the_python_backend_is_never_taken_for_nvidias():
    where = factory.environment(gpu=False)
    assert "not NVIDIA's C++ backend" in environment.served_by(where)
    native = where.model_copy(
        update={"backend": "onnxruntime, NVIDIA's C++ backend", "backend_version": "1.22"}
    )
    assert "not NVIDIA's" not in environment.served_by(native)
    assert environment.served_by(native).endswith("NVIDIA's C++ backend, version 1.22")


def test_a_provider_is_told_with_its_options():
    where = factory.environment(gpu=True)
    assert environment.provider(where) == "CUDAExecutionProvider (its options are not known)"
    default = where.model_copy(update={"provider_options": {}})
    assert environment.provider(default) == "CUDAExecutionProvider (its default options)"
    some = where.model_copy(update={"provider_options": {"a": "1", "b": "x"}})
    assert environment.provider(some) == "CUDAExecutionProvider (a=1, b=x)"
    assert environment.provider(where.model_copy(update={"execution_provider": None})) is None


def told(fact, of):
    (words,) = [words for title, words in environment.GPU_FACTS if title == fact]
    return words(of)


@pytest.mark.parametrize(
    ("changes", "text", "small"),
    [
        ({}, "default", "1,980 MHz, memory 3,201 MHz, up to 1,980 MHz"),
        ({"application_sm_clock_hz": 1.2e9}, "set to 1,200 MHz, memory 3,201 MHz", "default 1,980 MHz"),
        ({"application_memory_clock_hz": 1.6e9}, "set to 1,980 MHz, memory 1,600 MHz", "default 1,980 MHz"),
        ({"default_sm_clock_hz": None}, "set to 1,980 MHz", "the default is not known"),
        (
            {"application_sm_clock_hz": None, "unsupported": {"application_sm_clock_hz": "Not Supported"}},
            "up to 1,980 MHz",
            "application clocks: Not Supported",
        ),
    ],
)
def test_the_policy_of_the_clocks_is_in_words(changes, text, small):
    cell = told("clocks", gpu(0, **changes))
    assert text in cell.text and small in cell.small and cell.why == ""


@pytest.mark.parametrize(
    ("fact", "changes", "text", "small"),
    [
        ("power cap", {}, "700 W", "the default"),
        ("power cap", {"power_limit_w": 500.0}, "500 W", "default 700 W"),
        ("power cap", {"power_limit_default_w": None}, "700 W", ""),
        ("PCIe", {}, "5.0 ×16", ""),
        ("PCIe", {"pcie_generation": 1}, "1.0 ×16", "when asked, of 5.0 ×16"),
        ("PCIe", {"pcie_width": 8}, "5.0 ×8", "when asked, of 5.0 ×16"),
        ("ECC", {"ecc": False}, "off", ""),
        ("MIG", {"mig": True}, "on", ""),
    ],
)
def test_each_fact_of_a_gpu_is_in_words(fact, changes, text, small):
    cell = told(fact, gpu(0, **changes))
    assert (cell.text, cell.small) == (text, small)


def test_every_fact_that_is_not_known_has_its_reason():
    bare = {
        name: None
        for name, field in type(gpu(0)).model_fields.items()
        if not field.is_required() or name in ("memory_bytes", "driver", "cuda_driver", "ecc", "mig")
    }
    bare |= {"power_limit_w": None, "persistence": None}
    bare["unsupported"] = {name: f"no {name}" for name in bare}
    cells = {title: words(gpu(0, **bare)) for title, words in environment.GPU_FACTS if title != "name"}
    assert all(cell.text == "–" and cell.why.startswith("no ") for cell in cells.values()), cells
    old = gpu(0, vbios=None)
    assert told("VBIOS", old).why == "not observed"


# ---- the figures ----


def test_every_figure_of_a_gpu_is_told_once():
    assert sorted(fact.field for fact in gpus.FACTS) == sorted(READ_AS)


def test_a_figure_is_words_or_a_dash_with_its_reason():
    tables, why = gpu_figures(MIG.points[0])
    cells = dict((title, cells) for table in tables.values() for (title, _), cells in table.rows)
    whole, three, five = cells["SM activity"]
    assert (whole.text, whole.why) == ("–", gpu_factory.NEEDS_GPM)
    assert three.text == "41.2%" and five.text == "41.2%"
    assert cells["energy"][0].text == "5,125" and cells["energy"][1].why == gpu_factory.WHOLE_GPU
    assert list(why.values()) == list(range(1, len(why) + 1))
    assert set(why) == {gpu_factory.NEEDS_GPM, gpu_factory.WHOLE_GPU, gpu_factory.NO_SERVER_PROCESS}
    old = factory.run_of(gpu=True).points[0].gpu[0]
    sm = next(fact for fact in gpus.FACTS if fact.field == "sm_activity_mean")
    assert sm.cell(old).why == "the device or driver doesn't report it", "a run of an earlier version"


def test_a_point_counts_the_gpus_that_it_uses():
    point = TWO.points[0]
    assert gpus.sm_activity(point).text == "40.5%"
    assert gpus.power(point).text == "1,011"
    both = 2 * 5125.0 / point.requests
    assert float(gpus.energy(point).text) == pytest.approx(both, rel=0.01)
    assert gpus.energy(point).small == "idle 0.551"
    server = point.point.server.model_copy(update={"gpus": (1,)})
    one = point.model_copy(update={"point": point.point.model_copy(update={"server": server})})
    assert (gpus.sm_activity(one).text, gpus.power(one).text) == ("39.8%", "498")
    fell_back = point.model_copy(update={"execution_provider": "CPUExecutionProvider"})
    assert not gpus.used_any(fell_back)
    cpu = point.point.server.model_copy(update={"kind": "cpu", "gpus": None})
    none = point.model_copy(update={"point": point.point.model_copy(update={"server": cpu})})
    assert not gpus.used_any(none) and gpus.energy(none).why == "the point used no GPU"


def test_energy_that_is_not_known_of_every_gpu_is_not_summed_up():
    point = TWO.points[0]
    first, second = point.gpu
    lost = gpu_factory.without(second, {"energy_j_per_inference": "the GPU was lost during the point"})
    partly = point.model_copy(update={"gpu": (first, lost)})
    assert gpus.energy(partly).why == "the GPU was lost during the point"
    assert gpus.energy_line(partly) == ""
    no_idle = gpu_factory.without(second, {"idle_energy_j_per_inference": "busy before the load"})
    apart = point.model_copy(update={"gpu": (first, no_idle)})
    assert gpus.energy(apart).small == "" and gpus.energy(apart).text == gpus.energy(point).text
    assert gpus.energy_line(point) == "2.39 J an inference on 2 GPUs, idle share 0.551 J"
    assert gpus.energy_line(apart) == "2.39 J an inference on 2 GPUs"


def test_with_mig_energy_is_the_whole_gpus_and_activity_that_of_its_parts():
    point = MIG.points[0]
    assert gpus.energy_line(point).endswith("on 1 GPU, idle share 0.275 J")
    assert gpus.sm_activity(point).text == "41.2%"


def test_who_read_the_gpus_is_told_with_what_it_cost():
    point = TWO.points[0]
    assert gpus.probe_words(point) == "Read by NVML: 4,800 readings, one each 50.0 ms, for 0.420% of a core."
    away = point.gpu_probe.model_copy(update={"source": "remote probe", "cpu_cores": None})
    words = gpus.probe_words(point.model_copy(update={"gpu_probe": away}))
    assert words == "Read by a probe on the server's machine: 4,800 readings, one each 50.0 ms."
    both = point.gpu_probe.model_copy(update={"source": "nvml, another-vendor"})
    words = gpus.probe_words(point.model_copy(update={"gpu_probe": both}))
    assert words.startswith("Read by NVML and another-vendor: 4,800 readings")
    assert gpus.probe_words(point.model_copy(update={"gpu_probe": None})) == ""


def test_the_table_in_the_terminal_has_activity_and_energy_where_gpus_were_used():
    def printed(run, width=400):
        out = io.StringIO()
        print_table(run, Console(file=out, width=width))
        return out.getvalue()

    text = printed(TWO)
    for title in ("GPU utilization", "SM activity", "energy J/inf", "GPU power W"):
        assert title in next(line for line in text.splitlines() if "|" in line)
    assert "(idle 0.551)" in text and "energy: 1.35 J an inference on 2 GPUs" in text
    assert "SM activity" not in printed(factory.run_of())
    on_cpu = gpu_factory.TWO_GPUS.model_copy(update={"server": Server(kind="cpu")})
    assert "SM activity" not in printed(factory.run_of(on_cpu, gpu=True)), "GPUs that were merely there"


# ---- the page ----


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The pages of both runs, written once."""
    pages = {"two": (TWO, gpu_factory.readings), "mig": (MIG, PARTS)}
    folder = tmp_path_factory.mktemp("gpus")
    for name, (run, readings) in pages.items():
        write_page(run, samples.series_for(run, readings), folder / f"{name}.html")
    return {name: folder / f"{name}.html" for name in pages}


@pytest.fixture
def read(browser, files):
    """Open one of them for a test that only reads it, unless it is open."""

    def opened(name):
        if browser.current_url != files[name].as_uri():
            visit(browser, files[name])
        return browser

    yield opened
    assert complaints(browser) == []
    assert requested(browser) == []


@pytest.mark.browser
def test_the_page_shows_each_gpu_with_its_figures_and_the_reasons_of_dashes(read):
    browser = read("two")
    assert "gpu" in drawn(browser)
    assert {"SM activity", "energy"} <= set(headings(browser)), "in the table of points"
    details = browser.find_element("id", "details").text
    for words in (
        "GPU 0",
        "GPU 1",
        "Read by NVML",
        "SM occupancy",
        "21.3%",
        "energy, by power readings J",
        "5,088",
    ):
        assert words in details
    section = browser.find_element("id", "gpus")
    assert "41.2%" in section.text and "39.8%" in section.text and "sw_power_cap" in section.text
    assert gpu_factory.NOT_SUPPORTED in details, "why PCIe isn't known of the second GPU"
    dashes = browser.find_elements("css selector", "#details .none")
    assert [dash.get_attribute("title") for dash in dashes] == [gpu_factory.NOT_SUPPORTED] * 2
    assert [dash.find_element("xpath", "following-sibling::sup").text for dash in dashes] == ["1", "1"]
    assert (
        "1.35 J an inference on 2 GPUs, idle share 0.310 J" in browser.find_element("tag name", "header").text
    )


@pytest.mark.browser
def test_the_charts_draw_each_gpu_and_each_mig_device(read):
    browser = read("two")
    names = [trace["name"] for trace in data_of(browser, "gpu")]
    assert names.count("GPU 0") == names.count("GPU 1") == 5  # utilization, SM activity, power, memory, clock
    assert {"GPU 0: tensor cores", "GPU 1: memory bandwidth"} <= set(names)
    utilization = data_of(browser, "gpu")[0]
    assert max(utilization["y"]) == pytest.approx(97) and min(utilization["x"]) == pytest.approx(-2)
    browser = read("mig")
    assert {"GPU 0 MIG 3", "GPU 0 MIG 5"} <= {trace["name"] for trace in data_of(browser, "gpu")}


@pytest.mark.browser
@pytest.mark.parametrize("name", ["mig", "two"], ids=["MIG", "two GPUs"])
def test_a_phone_does_not_scroll_sideways(read, name):
    browser = read(name)
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        sideways = "return document.documentElement.scrollWidth - window.innerWidth"
        WebDriverWait(browser, 10).until(lambda b: b.execute_script(sideways) <= 0)
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.browser
def test_the_environment_is_told_in_full_and_hostile_text_stays_text(show):
    where = TWO.environment.model_copy(
        update={
            "server_command": ("tritonserver", factory.HOSTILE, "--x='y'"),
            "server_image": factory.HOSTILE,
            "provider_options": {factory.HOSTILE: factory.HOSTILE},
            "gpus": (
                gpu(0, name=factory.HOSTILE, vbios=None, unsupported={"vbios": factory.HOSTILE}),
                gpu(1),
            ),
        }
    )
    named = factory.artifact(name=factory.HOSTILE).model_copy(update={"dtype": "fp16"})
    points = [
        p.model_copy(update={"gpu": (gpu_factory.without(p.gpu[0], {"energy_j": factory.HOSTILE}),)})
        for p in TWO.points
    ]
    run = TWO.model_copy(update={"environment": where, "other_models": (named,), "points": tuple(points)})
    browser = show(run, samples.series_for(run, gpu_factory.readings))  # an alert would fail every call
    assert browser.execute_script("return document.querySelectorAll('script:not([type])').length") == 7
    assert (
        browser.execute_script("return document.querySelectorAll('main b, #environment script').length") == 0
    )
    text = browser.find_element("id", "environment").text
    for words in ("the default", "compute capability", "5.0 ×16", "580.65.06", "tritonserver '</script>"):
        assert words in text, words
    models = browser.find_element("id", "export").text
    assert "fp16" in models and factory.HOSTILE.split()[0] in models


@pytest.mark.browser
def test_the_chosen_points_gpus_are_drawn(show):
    points = tuple(p.model_copy(update={"gpu": p.gpu[:1]}) if i else p for i, p in enumerate(TWO.points))
    run = TWO.model_copy(update={"points": points})
    browser = show(run, samples.series_for(run, gpu_factory.readings))
    choose(browser, "chosen", run.points[0].id)
    assert "GPU 1" in browser.find_element("id", "details").text
    choose(browser, "chosen", run.points[1].id)
    assert "GPU 1" not in browser.find_element("id", "details").text


def test_two_hundred_points_on_eight_gpus_stay_a_page_that_opens():
    run = factory.run_of(factory.MANY, gpu=True)
    one = run.model_copy(update={"points": run.points[:1]})

    def size(devices):
        watched = partial(gpu_factory.readings, devices=tuple((device, None) for device in range(devices)))
        (series,) = samples.series_for(one, watched).values()
        return len(page_html(run, {p.id: series for p in run.points}))

    assert size(8) - size(0) < 3_000_000
    assert len(gpu_table(run).rows) == 200 and len(gpus_there(run.environment).rows) == 1
