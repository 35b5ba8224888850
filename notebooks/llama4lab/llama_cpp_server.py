"""llama.cpp's own HTTP server for one GGUF file:  python -m llama4lab.llama_cpp_server FILE PORT NAME

The key that callers must send is the value of LLAMA_CPP_KEY. The server listens on the loopback interface only, and runs
until the process ends.
"""

import os
import sys
import threading

import xllamacpp

CONTEXT, CALLERS = 8192, 4


def parameters(file: str, port: int, name: str, key: str) -> xllamacpp.CommonParams:
    """Greedy work on one thread, keys and values in float32, so that numbers can be compared with transformers'."""
    common = xllamacpp.CommonParams()
    common.model.path = file
    common.model_alias = {name}
    common.hostnames, common.port = ["127.0.0.1"], port
    common.api_keys = [key]
    common.n_ctx, common.n_parallel = CONTEXT, CALLERS
    common.cpuparams.n_threads = common.cpuparams_batch.n_threads = 1
    common.cache_type_k = common.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    common.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED  # it rounds to 16 bits
    common.warmup = False
    return common


if __name__ == "__main__":
    file, port, name = sys.argv[1:]
    server = xllamacpp.Server(parameters(file, int(port), name, os.environ["LLAMA_CPP_KEY"]))
    threading.Event().wait()
