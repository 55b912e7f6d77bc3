"""Decodes greedily with transformers: eager.py MODEL THREADS NEW [eager|sdpa], one JSON line as decode.ts's."""

import json
import resource
import statistics
import sys
import time

import torch
from transformers import AutoModelForCausalLM

folder, threads, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(threads)
attention = sys.argv[4] if len(sys.argv) > 4 else "sdpa"
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation=attention).eval()
prompt = torch.tensor([[5 + (i * 7919) % 40000 for i in range(128)]])
for rounds in (2, count):
    marks, busy, tokens, ids, cache = [time.perf_counter()], [time.process_time()], [], prompt, None
    with torch.inference_mode():
        for _ in range(rounds):
            out = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache = out.past_key_values
            ids = out.logits[:, -1].argmax(-1, keepdim=True)
            tokens.append(int(ids))
            marks.append(time.perf_counter())
            busy.append(time.process_time())
steps = [1000 * (b - a) for a, b in zip(marks, marks[1:])]
used = [1000 * (b - a) for a, b in zip(busy, busy[1:])]
figures = {"prompt": steps[0], "token": statistics.median(steps[1:]), "least": min(steps[1:]), "tokens": tokens}
figures["processor"] = {"prompt": used[0], "token": statistics.median(used[1:])}
print(json.dumps({**figures, "peakMegabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
