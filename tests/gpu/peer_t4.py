"""Writes what was measured as a T4 file that `mixtune merge` reads (tuner/report/t4.h has the form). Standard library only."""
import json
import os
import re
import time

# What each outcome of the database is called in the schema of T4 (tuner/report/t4.c).
INVALIDITY = {"ok": "correct", "refused": "constraints", "launch-failed": "runtime", "wrong": "correctness", "illegal-address": "runtime",
              "timeout": "timeout", "crash": "runtime"}
UNITS = {"time": "ns", "time_low": "ns", "time_high": "ns", "smem_bytes": "bytes", "spill_bytes": "bytes"}


def timestamp(ns):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ns // 10**9)) + f".{ns % 10**9:09d}Z"


def configuration(family, config):
    """The configuration as an object: a knob is a number where its text is one."""
    out = {"family": family}
    for pair in config.split(",") if config else []:
        name, _, value = pair.partition("=")
        out[name] = int(value) if re.fullmatch(r"-?[0-9]{1,18}", value) else value
    return out


class File:
    """One run on one device. `device`: uuid, name, cc, sm_count, software; `driver_version` as the driver says it."""

    def __init__(self, path, device, driver_version, clocks, command):
        self.path = path
        self.device = {name: device[name] for name in ("uuid", "name", "cc", "sm_count", "software")}
        # No NVRTC, templates or cuBLAS of mixtune took part; the libraries that did are named in each configuration.
        self.environment = {"driver_version": driver_version, "nvrtc_version": 0, "template_hash": "", "cublas_version": "",
                            "clocks": clocks, "time_model": device.get("time_model", "")}
        self.command = command
        self.started = self.last = time.time_ns()
        self.layers, self.results = [], []

    def _created(self):
        """Nanoseconds since 1970, each later than the one before."""
        self.last = max(time.time_ns(), self.last + 1)
        return self.last

    def _layer(self, problem):
        row = {"model": problem.model, "layer": problem.layer, "n": problem.n, "k": problem.k, "tp": problem.tp}
        if row not in self.layers:
            self.layers.append(row)
        return self.layers.index(row)

    def add(self, problem, family, config, scheme, group, dtype, outcome, message="", times=None, cache="cold", resources=(0, 0, 0)):
        """A peer at one problem. `times`: (samples, (median, low, high)) in nanoseconds when the outcome is ok."""
        samples, interval = times or ([], None)
        values = dict(zip(("time", "time_low", "time_high"), interval)) if interval else {}
        values.update(run=0, layer=self._layer(problem), m=problem.m, group_size=group, scheme=scheme, rows8=problem.n if scheme == "w8a8" else 0, dtype=dtype,
                      origin="modelled" if self.device["software"] else "measured", cache_state=cache, outcome=outcome,
                      message=message, binary="", registers=resources[0], smem_bytes=resources[1], spill_bytes=resources[2],
                      config=config)
        self.results.append({
            "timestamp": timestamp(self._created()), "configuration": configuration(family, config),
            "times": {"runtimes": [float(s) for s in samples]}, "invalidity": INVALIDITY[outcome],
            "correctness": int(outcome == "ok"), "objectives": ["time"],
            "measurements": [{"name": name, "value": value, "unit": UNITS.get(name, "")} for name, value in values.items()]})

    def write(self):
        mixtune = {"devices": [self.device], "environments": [self.environment],
                   "runs": [{"device": 0, "environment": 0, "command": self.command, "started": timestamp(self.started)}], "layers": self.layers}
        metadata = {"compute_api": "CUDA", "device": self.device["name"], "autotuner": "mixtune", "autotuner_version": "peers",
                    "timeunit": "nanoseconds", "mixtune": mixtune}
        head = json.dumps({"schema_version": "1.1.0", "metadata": metadata})
        with open(self.path + ".new", "w", encoding="utf-8") as file:
            file.write(head[:-1] + ', "results": [\n' + ",\n".join(json.dumps(r) for r in self.results) + "]}\n")
        os.replace(self.path + ".new", self.path)
