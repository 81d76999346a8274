"""What is compared: each configuration as data. run.py makes and judges them in this order, table.py names them again."""
from collections import namedtuple

# Packed(set, scheme): a folder of `mixtune quantize`. Own(): the model's weights. Python(function, options): of baselines.py.
Packed = namedtuple("Packed", "set scheme")
Own = namedtuple("Own", "")
Python = namedtuple("Python", "function options")

# One pass of `mixtune quantize`. salience: a name below; hessian: whether it takes that of the same samples. like: in place of schemes the share of
# features with which every layer has as many bits as another folder has on average; its folder is called "equal".
Set = namedtuple("Set", "schemes salience options hessian like", defaults=((), False, None))
LADDER = ("p0", "p10", "p20", "p50", "p100")
GPTQ = ("--method", "gptq")
SETS = {
    "rtn": Set(LADDER, "main"),
    "gptq": Set(LADDER, "main", GPTQ, True),
    "uniform": Set(("p10",), "main", ("--uniform",)),
    "uniform-equal": Set((), "main", ("--uniform",), like=("rtn", "p10")),
    "gptq-uniform-equal": Set((), "main", ("--uniform", *GPTQ), True, like=("rtn", "p10")),
    "squares": Set(("p10",), "squares"),
    "gptq-unordered": Set(("p0", "p10"), "main", (*GPTQ, "--group-order", "index"), True),
    "clip": Set(("p0", "p10"), "main", ("--clip",), True),
    "gptq-clip": Set(("p0", "p10"), "main", (*GPTQ, "--clip"), True),
    "mixed": Set(("p10",), "mixed"),
    "gptq-mixed": Set(("p0", "p10"), "mixed", GPTQ, True),
    "gptq-mixed-clip": Set(("p0", "p10"), "mixed", (*GPTQ, "--clip"), True),
    "mixed-uniform-equal": Set((), "mixed", ("--uniform",), like=("mixed", "p10")),
    "samples-1": Set(("p10",), "samples-1"),
    "samples-4": Set(("p10",), "samples-4"),
    "by-output": Set(("p10",), "output"),
    "by-weight": Set(("p10",), "weight"),
    "random": Set(("p10",), "random"),
}

# Saliences: from samples of the texts to calibrate with (all samples, or so many), from those and the texts' of the other domains
# ("mixed"), from the tensors of another file, or from a score of baselines.py.
Sampled = namedtuple("Sampled", "samples mixed", defaults=(None, False))
Squares = namedtuple("Squares", "of")
Scored = namedtuple("Scored", "what")
SALIENCES = {
    "main": Sampled(),
    "mixed": Sampled(mixed=True),
    "samples-1": Sampled(1),
    "samples-4": Sampled(4),
    "squares": Squares("main"),
    "output": Scored("output"),
    "weight": Scored("weight"),
    "random": Scored("random"),
}

# acts: how the inputs of linear layers are rounded: "none", "group" (int8, a scale for each token and group of 128), "token".
Config = namedtuple("Config", "name make acts")


def packed(set_name, scheme="p10", acts="group", name=None):
    return Config(name or f"{set_name} {scheme}", Packed(set_name, scheme), acts)


def python(name, acts, function, **options):
    return Config(name, Python(function, options), acts)


CONFIGS = [
    Config("fp", Own(), "none"),
    Config("a8", Own(), "group"),
    *(packed("rtn", scheme) for scheme in LADDER),
    packed("uniform-equal", "equal"),
    packed("uniform"),
    packed("squares"),
    python("w4a16 channel symmetric", "none", "rtn", bits=4),
    python("w4a8 channel symmetric", "token", "rtn", bits=4),
    python("w4a8 channel asymmetric", "token", "rtn", bits=4, symmetric=False),
    python("w8a8 channel", "token", "rtn", bits=8),
    packed("rtn", "p0", "none", "w4a16 rtn"),
    *(packed("gptq", scheme) for scheme in LADDER),
    packed("gptq", "p0", "none", "w4a16 gptq"),
    packed("gptq-unordered", "p0"),
    packed("gptq-unordered", "p10"),
    python("w8a8 smoothquant", "token", "smoothquant"),
    python("w4a16 awq", "none", "awq"),
    packed("clip", "p0"),
    packed("clip", "p10"),
    packed("gptq-clip", "p0"),
    packed("gptq-clip", "p10"),
    packed("mixed"),
    packed("mixed-uniform-equal", "equal"),
    packed("gptq-mixed", "p0"),
    packed("gptq-mixed", "p10"),
    packed("gptq-mixed-clip", "p0"),
    packed("gptq-mixed-clip", "p10"),
    packed("gptq-uniform-equal", "equal"),
    packed("samples-1"),
    packed("samples-4"),
    packed("by-output"),
    packed("by-weight"),
    packed("random"),
]


def takes_mix(config):
    """Whether a configuration is calibrated on the texts of other domains, too."""
    if not isinstance(config.make, Packed):
        return False
    salience = SALIENCES[SETS[config.make.set].salience]
    return isinstance(salience, Sampled) and salience.mixed
