"""Short ways to write small problems as public JSON; sizes in MiB."""

MIB = 1 << 20


def model(name, weights=1, workspace=0, io=0, **rest):
    return {
        "name": name,
        "weight_bytes": weights * MIB,
        "workspace_bytes": workspace * MIB,
        "io_bytes": io * MIB,
        **rest,
    }


def cards(count, size, node="local", start=0, **rest):
    return [
        {
            "name": f"{node}/{index}",
            "node": node,
            "kind": "emulated",
            "capacity_bytes": size * MIB,
            **rest,
        }
        for index in range(start, start + count)
    ]


def problem(models, slots, objective="min_cards", **rest):
    return {"objective": objective, "models": models, "cards": slots, **rest}
