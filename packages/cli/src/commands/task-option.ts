import { isTask, type Task, tasks } from "@loomweight/models";
import { unknownName } from "@loomweight/tensor/errors";

/** The value of --task. Throws `INVALID_OPTION`. */
export function checkTask(task: string | undefined): Task | undefined {
  if (task === undefined || isTask(task)) return task;
  throw unknownName({
    kind: "task",
    name: task,
    known: tasks,
    code: "INVALID_OPTION",
    option: "--task",
    fix: `There are ${tasks.join(", ")}.`,
  });
}
