"""Where is it? python where_is.py http://127.0.0.1:8090 TOKEN SCENE "red mug" (Python alone, no packages)."""

import json
import sys
import urllib.request

url, token, scene, text = sys.argv[1:]
headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
body = json.dumps({"texts": [text]}).encode()
request = urllib.request.Request(f"{url}/scenes/{scene}/locate", body, headers)
for instance in json.load(urllib.request.urlopen(request))[0]["instances"]:
    print(instance["score"], *instance["center"], *instance["box"]["size"])
