// "How it sees this picture": the page of `atdsr explain`, in a frame that may do nothing else.

const at = (id) => document.getElementById(id);
const dialog = at("explainer");
const frame = at("explanation");
const status = at("explainer-status");

export async function showExplanation(job) {
  const url = `${job.url}/explanation`;
  at("explainer-name").textContent = `How it sees ${job.filename}`;
  status.textContent = job.explained ? "" : "The network looks at the picture once more…";
  frame.hidden = true;
  dialog.showModal();
  const answer = await fetch(url, { method: "HEAD" });
  if (!dialog.open) return;
  if (!answer.ok) {
    const problem = await (await fetch(url)).json();
    status.textContent = problem.detail;
    return;
  }
  status.textContent = "";
  frame.src = url;
  frame.hidden = false;
}

at("explainer-close").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => frame.removeAttribute("src"));
