"""Options that MindSpore Lite would ignore without a word, and what was probably meant.

The library reads a config by exact section and key and says nothing of the rest. Names are those of
src/common/common.h, config_file_parser.cc and ge_graph_executor.cc of release 2.7. What is close to
a known name, or known and in the wrong place, is wrong; what is like nothing known may be new: a
warning. Sections for GE and ACL are handed on to them word by word: of what is in those, little is
known, and less is called wrong.
"""

import difflib
from collections.abc import Iterator, Mapping

from actors.machine.finding import Finding

ASCEND, SESSION = "ascend_context", "ge_session_options"
_GRAPH, _GLOBAL = "ge_graph_options", "ge_global_options"
#: Options that are refused: what each is, what is wanted instead, and what to do.
_REFUSED: Mapping[str, tuple[str, str, str]] = {
    "rank_table_file": (
        "a rank table",
        "no rank table: a process owns one card",
        "remove it: models that are split over several cards are not supported",
    ),
    **dict.fromkeys(
        ("shareable_weight_pid_list", "shareable_weight_mem_handle"),
        (
            "weights shared between processes",
            "none: a card has one process",
            "remove it: the library passes it over for a model that is in a group",
        ),
    ),
}
#: Options with which a build makes weights that can be replaced later.
_UPDATES = ("variable_weights_file", "variable_weights_list")
#: Sections that the library or its converter reads.
_SECTIONS = (
    ASCEND,
    SESSION,
    _GRAPH,
    _GLOBAL,
    "acl_option_cfg_param",
    "acl_init_options",
    "acl_build_options",
    "aoe_global_options",
    "aoe_tuning_options",
    "common_context",
    "common_quant_param",
    "cpu_option_cfg_param",
    "data_preprocess_param",
    "dynamic_quant_param",
    "full_quant_param",
    "gpu_context",
    "graph_kernel_param",
    "lite_inner_group",
    "micro_param",
    "mixed_bit_weight_quant_param",
    "model_file",
    "ms_cache",
    "om_converter",
    "registry",
    "shared_thread_pool",
    "transform_quant_param",
    "transformer_context",
    "weight",
    "weight_quant_param",
)
_ASCEND_KEYS = (
    "aoe_mode buffer_optimize custom_fusion_pattern device_id dump_config_file dump_model_name "
    "dynamic_dims enable_custom_op enable_tiling_generation fusion_switch_config_file_path "
    "ge_graph_memory_max_size ge_variable_memory_max_size input_format input_shape "
    "inputs_to_variable insert_op_config_file_path max_weight_batch mixprecision_list_path "
    "model_cache_dir model_cache_mode om_file_path op_attrs op_select_impl_mode output_type "
    "outputs_to_variable parameter_as_refdata plugin_custom_ops precision_mode "
    "profiling_config_file provider rank_table_file shareable_weight_mem_handle "
    "shareable_weight_pid_list stream_label_file variable_weights_file variable_weights_list"
)
#: Those, and where else each is read.
_ASCEND_HOMES: Mapping[str, tuple[str, ...]] = dict.fromkeys(
    _ASCEND_KEYS.split(), (ASCEND, "acl_option_cfg_param", "gpu_context")
)
_EXTERNAL = "ge.externalWeight"
#: Keys of GE that Lite itself reads or sets, and where each does what it says.
_GE_HOMES: Mapping[str, tuple[str, ...]] = {
    _EXTERNAL: (SESSION, "acl_build_options"),
    **dict.fromkeys(
        ("ge.exec.staticMemoryPolicy", "ge.constLifecycle", "ge.featureBaseRefreshable"),
        (SESSION, _GRAPH, _GLOBAL, "acl_build_options", "acl_init_options"),
    ),
}
#: Sections whose every key goes to GE, or to ACL.
_TO_GE = (SESSION, _GRAPH, _GLOBAL)
_TO_ACL = ("acl_build_options", "acl_init_options")
#: Keys of GE's own without its prefix.
_GE_TOO = ("device_id",)
_CLOSE = 0.85
#: A section of our own that may be in the same file.
_OURS = "emulated_card"
_UNKNOWN = (
    "that MindSpore Lite 2.7 does not read",
    "one that is read",
    "take it out, unless the documentation of your release has it",
)


def updates_weights(options: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether weights can be replaced once the model is built, as for LoRA.

    The library refuses such a model in every group (model_process.cc of 2.7).
    """
    return any(key in options.get(ASCEND, {}) for key in _UPDATES)


def option_findings(options: Mapping[str, Mapping[str, str]]) -> Iterator[Finding]:
    """What of these options, by section, does nothing; and what is refused, as rank tables are.

    A section that does nothing is told before its options.
    """
    for section, keys in options.items():
        meant = _nearest(section, _SECTIONS)
        if meant and meant != section:
            fix = f"rename the section to [{meant}]"
            yield Finding(f"[{section}]", "a section that nothing reads", f"[{meant}]", fix, False)
        elif not meant and section != _OURS:
            told, wanted, fix = _UNKNOWN
            yield Finding(f"[{section}]", f"a section {told}", wanted, fix, ok=True)
        for key, value in keys.items():
            yield from _key_findings(meant or section, section, key, value)


def _key_findings(section: str, written: str, key: str, value: str) -> Iterator[Finding]:
    place = f"[{written}] {key}"
    if key in _REFUSED:
        told, wanted, fix = _REFUSED[key]
        yield Finding(place, f"{told} ({value})", wanted, fix, False)
        return
    meant, homes = _meant(section, key)
    if not meant and section == ASCEND:
        told, wanted, fix = _UNKNOWN
        yield Finding(place, f"an option {told}", wanted, fix, ok=True)
    if not meant or (meant == key and section in homes):
        return
    home = section if section in homes else homes[0]
    wanted = f"[{home}] {meant}"
    fix = f"write {meant}={value} under [{home}]"
    unsure = section in (*_TO_GE, *_TO_ACL) and meant != _EXTERNAL
    yield Finding(place, "an option that nothing reads", wanted, fix, ok=unsure)


def _meant(section: str, key: str) -> tuple[str, tuple[str, ...]]:
    """The known key that this one is, or was to be, and where that is read; else empty."""
    if section == ASCEND:
        homes = {**_ASCEND_HOMES, **_GE_HOMES}
        meant = _nearest(key, tuple(homes))
        return meant, homes.get(meant, ())
    if section in _TO_GE and key in _ASCEND_HOMES and key not in _GE_TOO:
        return key, _ASCEND_HOMES[key]
    if section not in (*_TO_GE, *_TO_ACL):
        return "", ()
    meant = _nearest(key, tuple(_GE_HOMES))
    # GE has longer names of other options that begin alike: ge.externalWeightDir.
    return (meant, _GE_HOMES[meant]) if meant and abs(len(meant) - len(key)) < 2 else ("", ())


def _nearest(word: str, known: tuple[str, ...]) -> str:
    """The known word that this is, but for case or a slip of the finger; empty when none is."""
    if word in known:
        return word
    lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=_CLOSE)
    return lower[close[0]] if close else ""
