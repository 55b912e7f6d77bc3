"""Writes a Llama of SmolLM-135M's shape to a folder, or times PEFT's steps on it: torch_step.py FOLDER [lora|dora STEPS THREADS]."""
import json, statistics, sys, time
import torch
from transformers import LlamaConfig, LlamaForCausalLM

folder = sys.argv[1]
if len(sys.argv) == 2:
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
                         num_key_value_heads=3, max_position_embeddings=2048, tie_word_embeddings=True)
    LlamaForCausalLM(config).save_pretrained(folder)
    sys.exit()
from peft import LoraConfig, get_peft_model

method, steps, threads = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(threads)
model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", use_dora=method == "dora", task_type="CAUSAL_LM"))
model.train()
parameters = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.0)
ids = torch.arange(128).remainder(1000)[None] * 7
clock, processor = [], []
for _ in range(steps):
    t, p = time.perf_counter(), time.process_time()
    loss = model(input_ids=ids, labels=ids).loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    clock.append(time.perf_counter() - t)
    processor.append(time.process_time() - p)
print(json.dumps({"clock": statistics.median(clock[1:]) * 1000, "processor": statistics.median(processor[1:]) * 1000, "loss": loss.item()}))
