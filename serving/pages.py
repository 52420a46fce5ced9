"""The page for people, at `/`: a picture in, the answers of versions side by side."""

from flask import Flask, Response, render_template, request

from serving.body_reader import MAX_BODY_BYTES

HEADERS = {
    # Only what this service itself sends runs or loads; blob: is the picture shown.
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # after an update, the page and its script fit
}


def add_pages(app: Flask) -> None:
    """GET /, and the files under /static that it is made of."""

    @app.get("/")
    def page() -> Response:
        text = render_template("index.html", most_bytes=MAX_BODY_BYTES)
        return Response(text, headers=HEADERS)

    @app.after_request
    def trust_the_type(response: Response) -> Response:
        if request.endpoint == "static":
            response.headers["X-Content-Type-Options"] = "nosniff"
        return response
