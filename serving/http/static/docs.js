// Draws openapi.json by Swagger UI, with this service's address in the examples.
const writtenFor = document.currentScript.dataset.writtenFor;

// A proxy may mount the service below a path.
const address = new URL(".", location).href.replace(/\/$/, "");

async function draw() {
  const text = await (await fetch("openapi.json")).text();
  const spec = JSON.parse(text.replaceAll(writtenFor, address));
  SwaggerUIBundle({
    spec: { ...spec, servers: [{ url: address }] },
    dom_id: "#docs",
    deepLinking: true,
    docExpansion: "list",
    defaultModelsExpandDepth: 0,
    validatorUrl: null, // it would ask a server elsewhere
  });
}

draw();
