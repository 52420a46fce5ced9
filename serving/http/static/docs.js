// Draws /openapi.json by Swagger UI, with this service's address in the examples.
const writtenFor = document.currentScript.dataset.writtenFor;

async function draw() {
  const text = await (await fetch("/openapi.json")).text();
  SwaggerUIBundle({
    spec: JSON.parse(text.replaceAll(writtenFor, location.origin)),
    dom_id: "#docs",
    deepLinking: true,
    docExpansion: "list",
    defaultModelsExpandDepth: 0,
    validatorUrl: null, // it would ask a server elsewhere
  });
}

draw();
