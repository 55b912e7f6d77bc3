import { unknownName } from "@loomweight/tensor/errors";

/**
 * Chat templates that a recipe can ask for by name, in Jinja. They render conversations as mergekit's templates of
 * the same names do (odd white space of `exaone` included), so that a recipe means the same here.
 */
export const builtInChatTemplates: Readonly<Record<string, string>> = {
  alpaca:
    "{% for message in messages %}" +
    "{% if message['role'] == 'system' %}{{ message['content'] }}" +
    "{% elif message['role'] == 'user' %}{{ '\\n\\n### Instruction:\\n' + message['content'] }}" +
    "{% else %}{{ '\\n\\n### Response:\\n' + message['content'] }}{% endif %}" +
    "{% endfor %}" +
    "{% if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}",
  chatml:
    "{% for message in messages %}" +
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}" +
    "{% endfor %}" +
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
  exaone:
    "{% if messages[0]['role'] != 'system' %}{{ '        [|system|][|endofturn|]\\n\\n' }}{% endif %}" +
    "{% for message in messages %}" +
    "{{ '    [|' + message['role'] + '|]' + message['content'] + '\\n        ' }}" +
    "{% if message['role'] != 'user' %}{{ '[|endofturn|]' }}{% endif %}{{ '\\n\\n' }}" +
    "{% endfor %}" +
    "{% if add_generation_prompt %}{{ '    [|assistant|]\\n' }}{% endif %}",
  llama3:
    "{{ bos_token }}" +
    "{% for message in messages %}" +
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] + '<|eot_id|>\\n' }}" +
    "{% endfor %}" +
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
  mistral:
    "{{ bos_token }}" +
    "{% for message in messages %}" +
    "{% if message['role'] == 'user' %}{{ ' [INST] ' }}" +
    "{% if loop.index0 == 1 and messages[0]['role'] == 'system' %}{{ messages[0]['content'] + '\\n\\n' }}{% endif %}" +
    "{{ message['content'] + ' [/INST]' }}" +
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}{% endif %}" +
    "{% endfor %}",
};

/**
 * The chat template of a merge.
 * @param setting "auto" (the most frequent among the models, white space around it ignored; the first listed among
 *   equals), a name of `builtInChatTemplates`, or Jinja text of at least 20 characters with a `{`
 * @param templates of the models that have one, in the order listed
 * @returns undefined for "auto" when no model has one
 * Throws `INVALID_OPTION` for anything else.
 */
export function chooseChatTemplate(
  setting: string,
  templates: readonly string[],
  place: { readonly file?: string; readonly line?: number; readonly column?: number } = {},
): string | undefined {
  if (setting === "auto") return mostFrequent(templates.map((template) => template.trim()));
  if (Object.hasOwn(builtInChatTemplates, setting)) return builtInChatTemplates[setting];
  if (setting.length >= 20 && setting.includes("{")) return setting;
  throw unknownName({
    kind: "chat template",
    name: setting.slice(0, 60),
    known: ["auto", ...Object.keys(builtInChatTemplates)],
    code: "INVALID_OPTION",
    option: "chat_template",
    fix: `Use "auto", one of ${Object.keys(builtInChatTemplates).join(", ")}, or the text of a Jinja template.`,
    ...place,
  });
}

function mostFrequent(templates: readonly string[]): string | undefined {
  const counts = new Map<string, number>();
  for (const template of templates) counts.set(template, (counts.get(template) ?? 0) + 1);
  let best: string | undefined;
  for (const [template, count] of counts) if (best === undefined || count > counts.get(best)!) best = template;
  return best;
}
