// Classifies pictures on this device, by LiteRT compiled to WebAssembly.
import { Tensor, loadAndCompile, loadLiteRt } from "./litert/index.js";
import { $, TOP, clear, closeCamera, complain, connect, hide, preview, show, showClasses } from "./page.js";
import { resizeAndCenterCrop } from "./pixels.js";

const LARGEST_SIDE = 16_384; // of a canvas

let watched = 0; // the video that is looked at now has the latest number
let requests = 0;

async function start() {
  const config = await (await fetch("config.json")).json();
  // What LiteRT takes over when it is loaded; its messages are errors in the browser's eyes.
  self.Module = { printErr: (text) => /^(INFO|WARNING):/.test(text) || console.error(text) };
  await loadLiteRt("litert/wasm/");
  const model = await loadAndCompile("model.tflite", { accelerator: "wasm" });
  return { config, model };
}

const started = start();
started.then(
  ({ config }) => ($("status").textContent = `${config.name} is ready: ${config.labels.length} classes.`),
  (error) => complain(`This browser cannot run the network: ${error.message}`),
);

// RGB of the network's size, of a picture, a bitmap or a video's frame.
function pixels(source, width, height, config) {
  if (Math.max(width, height) > LARGEST_SIDE) {
    throw new Error(`The picture has ${width}x${height} pixels; at most ${LARGEST_SIDE} a side are read.`);
  }
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(source, 0, 0);
  return resizeAndCenterCrop(context.getImageData(0, 0, width, height), config.size, config.ratio);
}

function quantized(rgb, { dtype, scale, zero_point: zero }) {
  if (dtype === "float32") return Float32Array.from(rgb);
  const [type, lowest, highest] = dtype === "int8" ? [Int8Array, -128, 127] : [Uint8Array, 0, 255];
  return type.from(rgb, (x) => Math.min(highest, Math.max(lowest, Math.round(x / scale) + zero)));
}

function dequantized(values, { dtype, scale, zero_point: zero }) {
  const plain = Array.from(values, Number);
  return dtype === "float32" ? plain : plain.map((x) => scale * (x - zero));
}

function probabilities(values, name) {
  // A single value is that of the second of two classes.
  const single = values.length === 1;
  if (name === "probabilities") return single ? [1 - values[0], values[0]] : values;
  const logits = single ? [0, values[0]] : values; // whose softmax is the sigmoid
  const largest = Math.max(...logits);
  const exponentials = logits.map((x) => Math.exp(x - largest));
  const sum = exponentials.reduce((a, b) => a + b, 0);
  return exponentials.map((x) => x / sum);
}

// What the network says of RGB pixels: {scores, exit, ms}.
async function run(rgb) {
  const { config, model } = await started;
  const begin = performance.now();
  const input = new Tensor(quantized(rgb, config.input), [1, ...config.size, 3]);
  const outputs = await model.run(config.signature, { [config.input.name]: input });
  const values = {};
  for (const [name, tensor] of Object.entries(outputs)) {
    values[name] = (await tensor.data()).slice();
    tensor.delete();
  }
  input.delete();
  const ms = performance.now() - begin;
  const scores = probabilities(dequantized(values[config.output.name], config.output), config.output.name);
  return { scores, exit: values.exit ? Number(values.exit[0]) : null, ms };
}

// What the network says of a picture, a Blob; tests ask this, too.
export async function answer(blob) {
  const { config } = await started;
  const bitmap = await createImageBitmap(blob, {
    imageOrientation: "from-image",
    colorSpaceConversion: "none",
    premultiplyAlpha: "none",
  });
  try {
    return await run(pixels(bitmap, bitmap.width, bitmap.height, config));
  } finally {
    bitmap.close();
  }
}

async function showAnswer({ scores, exit, ms }) {
  const { config } = await started;
  const best = scores
    .map((share, n) => ({ name: config.labels[n].replaceAll("_", " "), share }))
    .sort((a, b) => b.share - a.share)
    .slice(0, TOP);
  $("classes").replaceChildren();
  showClasses(best);
  const left = exit === null ? "" : `, answered by exit ${exit}`;
  $("status").textContent = `${ms.toFixed(1)} ms on this device${left}.`;
}

async function classify(blob) {
  if (blob.type.startsWith("video/")) return playVideo(blob);
  const request = ++requests;
  watched++;
  closeCamera();
  preview(blob);
  clear();
  $("status").textContent = "Looking …";
  $("result").setAttribute("aria-busy", "true");
  try {
    const found = await answer(blob);
    if (request === requests) await showAnswer(found);
  } catch (error) {
    if (request !== requests) return;
    $("status").textContent = "";
    const undecodable = error.name === "InvalidStateError" || error.name === "EncodingError";
    complain(undecodable ? "This is no picture that the browser can read." : error.message);
  } finally {
    if (request === requests) $("result").setAttribute("aria-busy", "false");
  }
}

// Classifies what a video shows, one frame after the other, until another one is looked at.
async function watch(video) {
  const number = ++watched;
  requests++;
  clear();
  try {
    const { config } = await started;
    while (number === watched && (video.srcObject || video.src) && !video.ended) {
      if (video.videoWidth) {
        const found = await run(pixels(video, video.videoWidth, video.videoHeight, config));
        if (number === watched) await showAnswer(found);
      }
      await new Promise((done) => requestAnimationFrame(done));
    }
  } catch (error) {
    complain(error.message);
  }
}

async function playVideo(blob) {
  closeCamera();
  hide("preview", "hint");
  const video = $("video");
  const url = URL.createObjectURL(blob);
  const isShown = () => video.src === url; // and no other video, chosen in the meantime
  video.src = url;
  show("video");
  try {
    await video.play();
    await watch(video);
  } catch {
    if (isShown()) complain("This is no video that the browser can play.");
  }
  URL.revokeObjectURL(url);
  if (isShown()) video.removeAttribute("src");
}

connect(classify, watch);
navigator.serviceWorker?.register("service-worker.js");
