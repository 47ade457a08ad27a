// Sends a picture to the REST API of TensorFlow Serving and shows what it answers.
import {
  $, REENCODED_QUALITY, TOP, clear, closeCamera, complain, connect, preview, show, showClasses,
} from "./page.js";

const TIMEOUT_MS = 60_000;
const REENCODED_SIDE = 1600; // pixels; far more than the network looks at
// What TensorFlow decodes; a browser decodes more.
const SERVER_FORMATS = ["image/jpeg", "image/png", "image/gif", "image/bmp"];

const query = new URLSearchParams(location.search);

let maxBodyBytes = Infinity;
let requests = 0; // only the answer to the latest one is shown

// ---- Which server and which model ------------------------------------------------------------

async function configure() {
  try {
    const response = await fetch("config.json");
    if (!response.ok) throw new Error(`status ${response.status}`);
    const config = await response.json();
    maxBodyBytes = config.max_body_bytes;
    offerModels(config.models);
  } catch {
    // These files lie on an ordinary web server: the user says where the models are.
    $("server").value = query.get("server") ?? "";
    $("model").value = query.get("model") ?? "";
    show("settings", "server-field", "model-field");
  }
}

function offerModels(names) {
  const asked = query.get("model");
  if (asked && !names.includes(asked)) names = [asked, ...names];
  for (const name of names) $("models").append(new Option(name, name, false, name === asked));
  if (names.length > 1) show("settings", "models-field");
}

function predictUrl() {
  const own = $("server-field").hidden;
  const model = own ? $("models").value : $("model").value.trim();
  if (!model) {
    throw new Error(own ? "This server serves no model." : "Enter the name of the model.");
  }
  const server = own ? location.origin : $("server").value.trim() || "http://localhost:8501";
  return new URL(`/v1/models/${encodeURIComponent(model)}:predict`, server);
}

const configured = configure();

// ---- Pictures --------------------------------------------------------------------------------

function base64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(new Error("The file cannot be read."));
    reader.readAsDataURL(blob);
  });
}

async function reencoded(blob) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob);
  } catch {
    return null;
  }
  const scale = Math.min(1, REENCODED_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff"; // JPEG has no transparency
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", REENCODED_QUALITY));
}

// The bytes as they are, unless the server could not read them.
async function sendable(blob) {
  const body = (encoded) => `{"instances": [{"b64": "${encoded}"}]}`;
  const encoded = await base64(blob);
  let reason = "";
  if (body(encoded).length > maxBodyBytes) {
    reason = `it has more than the ${megabytes(maxBodyBytes)} that the server takes`;
  } else if (blob.type.startsWith("image/") && !SERVER_FORMATS.includes(blob.type)) {
    reason = `the server does not read ${blob.type.slice(6).toUpperCase()}`;
  }
  if (!reason) return { text: body(encoded), note: "" };
  const smaller = await reencoded(blob);
  if (!smaller) return { text: body(encoded), note: "" };
  return {
    text: body(await base64(smaller)),
    note: `The picture was re-encoded as JPEG of ${megabytes(smaller.size)} before it was sent: ${reason}.`,
  };
}

function megabytes(bytes) {
  return bytes < 1e5 ? `${(bytes / 1e3).toFixed(1)} KB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

// ---- Asking ----------------------------------------------------------------------------------

async function predict(url, text) {
  let response;
  try {
    response = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: text,
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch (error) {
    if (error.name === "TimeoutError") {
      throw new Error(`${url.host} did not answer within ${TIMEOUT_MS / 1000} seconds.`);
    }
    const hint =
      url.origin === location.origin
        ? "Is it still running?"
        : "Does it run, and with --rest_api_enable_cors_support, which a page from elsewhere needs?";
    throw new Error(`${url.host} cannot be reached. ${hint}`);
  }
  const reply = await response.text();
  let document;
  try {
    document = JSON.parse(reply);
  } catch {
    throw new Error(`${url.host} answered with status ${response.status}, and not with JSON.`);
  }
  if (!response.ok) {
    // TensorFlow ends a message with the node of its graph that failed.
    const message = document.error?.replace(/\s*\[\[\{\{.*/s, "");
    throw new Error(`The server says: ${message ?? `status ${response.status}`}`);
  }
  return document.predictions?.[0];
}

// [{name, share}] of an answer, the most likely first.
function ranked(prediction) {
  const { classes, scores } = prediction ?? {};
  if (!Array.isArray(classes) || !Array.isArray(scores)) {
    throw new Error(
      "The model does not answer with classes and scores. " +
        "Export it with python -m serving.export, whose signature serving_default does.",
    );
  }
  return classes
    .map((name, n) => ({ name: String(name).replaceAll("_", " "), share: Number(scores[n]) }))
    .sort((a, b) => b.share - a.share)
    .slice(0, TOP);
}

async function classify(blob) {
  const request = ++requests;
  const latest = () => request === requests;
  closeCamera();
  preview(blob);
  clear();
  $("status").textContent = "Looking …";
  $("result").setAttribute("aria-busy", "true");
  try {
    await configured;
    const url = predictUrl();
    const { text, note } = await sendable(blob);
    if (!latest()) return;
    const start = performance.now();
    const prediction = await predict(url, text);
    const milliseconds = Math.round(performance.now() - start);
    if (!latest()) return;
    showClasses(ranked(prediction));
    // Of a classifier in steps: which of them was sure enough.
    const exit = Number.isInteger(prediction.exit) ? ` by exit ${prediction.exit}` : "";
    const sent = `${megabytes(text.length)} were sent`;
    $("status").textContent = `Answered in ${milliseconds} ms${exit}; ${sent}.`;
    $("note").textContent = note;
  } catch (error) {
    if (!latest()) return;
    $("status").textContent = "";
    complain(error.message);
  } finally {
    if (latest()) {
      $("result").setAttribute("aria-busy", "false");
      $("result").scrollIntoView({ block: "nearest" });
    }
  }
}

connect(classify);
