import { type Task, taskNamed, tasks } from "@loomweight/models";
import { unknownName } from "@loomweight/tensor/errors";

/** The value of --task. Throws `INVALID_OPTION`. */
export function checkTask(task: string | undefined): Task | undefined {
  const named = task === undefined ? undefined : taskNamed(task);
  if (task === undefined || named !== undefined) return named;
  throw unknownName({
    kind: "task",
    name: task,
    known: tasks,
    code: "INVALID_OPTION",
    option: "--task",
    fix: `There are ${tasks.join(", ")}.`,
  });
}
