"use strict";
// What the graphics card runs. Constants are those of gags' own rasteriser (render/types.py): pictures agree
// only if they are the same.

const NEAR_PLANE = 0.01;
const QUADS = 1024; // an instance
const MODES = { colour: 0, relevancy: 1, granularity: 2, features: 3, depth: 4, things: 5 };

const FETCH = `
ivec2 place(uint g) { return ivec2(int(g) & ${2048 - 1}, int(g) >> 11); }
`;

const WHOLE_TARGET = `#version 300 es
void main() { gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0); }`;

/** Colour of every Gaussian from where the camera is: harmonics, then what is asked, chosen, painted. */
const COLOUR_PASS = `#version 300 es
precision highp float;
precision highp int;
precision highp usampler2D;
precision highp sampler2DArray;
uniform usampler2D geometry;
uniform sampler2D base;
uniform sampler2DArray harmonics;
uniform usampler2D states; // layer, strength, flags, paint
uniform sampler2D palette; // row 0: paints, row 1: layers
uniform sampler2D modeColors;
uniform vec2 colorRange;
uniform vec3 bands; // what 127 means for degrees 1, 2, 3
uniform vec3 eye;
uniform int degree, mode;
uniform float threshold, highlight, beside; // byte / 255; 1: something is selected; brightness of what is not
uniform bool anyLayer;
uniform vec2 depthRange;
uniform int count;
out vec4 color;
${FETCH}
vec3 shades[16];
vec3 rest(int k) { return shades[k]; }
void fetchAll(ivec2 at, int n) {
  float flat_[48];
  for (int j = 0; j < 12; j++) {
    if (4 * j >= 3 * n) break;
    vec4 four = texelFetch(harmonics, ivec3(at, j), 0) * 255.0 - 128.0;
    flat_[4 * j] = four.x; flat_[4 * j + 1] = four.y; flat_[4 * j + 2] = four.z; flat_[4 * j + 3] = four.w;
  }
  for (int k = 0; k < 15; k++) {
    if (k >= n) break;
    shades[k] = vec3(flat_[3 * k], flat_[3 * k + 1], flat_[3 * k + 2]) / 127.0;
  }
}
vec3 harmonic(ivec2 at, vec3 d) {
  float x = d.x, y = d.y, z = d.z;
  fetchAll(at, degree == 1 ? 3 : degree == 2 ? 8 : 15);
  vec3 sum = bands.x * 0.4886025119029199 * (-y * rest(0) + z * rest(1) - x * rest(2));
  if (degree > 1) sum += bands.y * (1.0925484305920792 * (x * y * rest(3) - y * z * rest(4) - x * z * rest(6))
    + 0.31539156525252005 * (2.0 * z * z - x * x - y * y) * rest(5) + 0.5462742152960396 * (x * x - y * y) * rest(7));
  if (degree > 2) sum += bands.z * (-0.5900435899266435 * (y * (3.0 * x * x - y * y) * rest(8) + x * (x * x - 3.0 * y * y) * rest(14))
    + 2.890611442640554 * x * y * z * rest(9)
    - 0.4570457994644658 * (4.0 * z * z - x * x - y * y) * (y * rest(10) + x * rest(12))
    + 0.3731763325901154 * z * (2.0 * z * z - 3.0 * x * x - 3.0 * y * y) * rest(11)
    + 1.445305721320277 * z * (x * x - y * y) * rest(13));
  return sum;
}
vec3 turbo(float t) {
  vec3 c = vec3(0.27 + t * (2.1 - 2.0 * t), 0.07 + t * (2.9 - 2.6 * t), 0.33 + t * (3.1 - 4.6 * t + 1.3 * t * t));
  return clamp(mix(vec3(0.05, 0.03, 0.15), c, 0.5 + 0.5 * t), 0.0, 1.0);
}
void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  if (at.y * 2048 + at.x >= count) { color = vec4(0.0); return; }
  uvec4 state = texelFetch(states, at, 0);
  bool hidden = (state.z & 2u) != 0u;
  if (hidden) { color = vec4(0.0); return; }
  vec3 mean = uintBitsToFloat(texelFetch(geometry, at, 0).xyz);
  vec3 rgb = mix(vec3(colorRange.x), vec3(colorRange.y), texelFetch(base, at, 0).rgb);
  if (degree > 0) rgb += harmonic(at, normalize(mean - eye));
  rgb = max(rgb, 0.0);
  const vec3 GREY = vec3(0.299, 0.587, 0.114);
  if (state.w > 0u) { // painted: as bright as the place is against what was painted (gags.query.edit.painted)
    vec4 paint = texelFetch(palette, ivec2(int(state.w), 0), 0);
    rgb = paint.rgb * dot(rgb, GREY) / max(paint.a, 0.02);
  }
  if (mode == ${MODES.relevancy} && anyLayer) {
    float grey = dot(rgb, GREY), strength = float(state.y) / 255.0;
    vec3 dim = 0.55 * mix(rgb, vec3(grey), 0.75);
    if (state.x > 0u && strength >= threshold) {
      float above = clamp((strength - threshold) / max(1.0 - threshold, 0.004), 0.0, 1.0);
      vec3 glow = texelFetch(palette, ivec2(int(state.x), 1), 0).rgb * mix(0.7, 1.0, above);
      rgb = mix(rgb, glow, mix(0.45, 1.0, above) * 0.85);
    } else rgb = dim;
  } else if (mode == ${MODES.depth}) {
    float far = distance(mean, eye);
    rgb = turbo(clamp(log(depthRange.y / far) / log(depthRange.y / depthRange.x), 0.0, 1.0));
  } else if (mode >= ${MODES.granularity} && mode != ${MODES.depth}) {
    rgb = mix(vec3(dot(rgb, GREY)), texelFetch(modeColors, at, 0).rgb, 0.8);
  }
  bool selected = (state.z & 1u) != 0u, hovered = (state.z & 4u) != 0u;
  if (highlight > 0.5) rgb = selected ? mix(rgb, vec3(1.0), 0.18) : beside * rgb;
  if (hovered) rgb = mix(rgb, vec3(1.0, 0.84, 0.25), 0.45);
  color = vec4(rgb, 1.0);
}`;

const SPLAT_VERTEX = `#version 300 es
precision highp float;
precision highp int;
precision highp usampler2D;
uniform usampler2D geometry, shape, order;
uniform int drawn;
uniform sampler2D colors;
uniform mat4 viewmat; // column-major of world → camera, OpenCV's axes
uniform vec4 K; // fx, fy, cx, cy
uniform vec2 size; // px
uniform vec2 scaleRange; // logarithms
out vec4 splat; // colour and opacity
out vec2 offset; // in standard deviations
${FETCH}
void main() {
  gl_Position = vec4(2.0, 2.0, 2.0, 1.0); // outside, if nothing is to be drawn
  int number = gl_InstanceID * ${QUADS} + (gl_VertexID >> 2);
  if (number >= drawn) return;
  ivec2 at = place(texelFetch(order, place(uint(number)), 0).x);
  vec4 color = texelFetch(colors, at, 0);
  uint s = texelFetch(shape, at, 0).x;
  float opacity = float(s >> 24) / 255.0;
  if (color.a < 0.5 || opacity < ${1 / 255}) return;
  uvec4 bits = texelFetch(geometry, at, 0);
  vec3 p = (viewmat * vec4(uintBitsToFloat(bits.xyz), 1.0)).xyz;
  if (p.z < ${NEAR_PLANE}) return;

  vec3 scales = exp(mix(vec3(scaleRange.x), vec3(scaleRange.y), vec3(s & 255u, (s >> 8) & 255u, (s >> 16) & 255u) / 255.0));
  uint largest = bits.w >> 30;
  vec3 three = (vec3((bits.w >> 20) & 1023u, (bits.w >> 10) & 1023u, bits.w & 1023u) / 1023.0 - 0.5) * ${Math.SQRT2};
  float last = sqrt(max(0.0, 1.0 - dot(three, three)));
  vec4 q = largest == 0u ? vec4(last, three) : largest == 1u ? vec4(three.x, last, three.yz)
    : largest == 2u ? vec4(three.xy, last, three.z) : vec4(three, last); // w, x, y, z
  float w = q.x, x = q.y, y = q.z, z = q.w;
  mat3 R = mat3(1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y),
                2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z + w * x),
                2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y));

  // The affine approximation of EWA splatting; J is not evaluated further out than 15 % beyond the edges.
  vec2 tangent = p.xy / p.z, margin = 0.15 * size / K.xy;
  tangent = clamp(tangent, -K.zw / K.xy - margin, (size - K.zw) / K.xy + margin);
  mat3 M = mat3(viewmat) * R;
  M = mat3(M[0] * scales.x, M[1] * scales.y, M[2] * scales.z);
  vec3 Jx = vec3(K.x / p.z, 0.0, -K.x * tangent.x / p.z), Jy = vec3(0.0, K.y / p.z, -K.y * tangent.y / p.z);
  vec3 mx = Jx * M, my = Jy * M;
  float a = dot(mx, mx) + 0.3, b = dot(mx, my), d = dot(my, my) + 0.3;
  float middle = 0.5 * (a + d), spread = length(vec2(0.5 * (a - d), b));
  float long_ = middle + spread, short_ = max(middle - spread, 1e-6);
  if (!(long_ < 1e12)) return;
  vec2 axis = abs(b) < 1e-6 * long_ ? (a >= d ? vec2(1.0, 0.0) : vec2(0.0, 1.0)) : normalize(vec2(b, long_ - a));
  float reach = sqrt(2.0 * log(255.0 * opacity));
  vec2 corner = vec2((gl_VertexID & 1) * 2 - 1, (gl_VertexID & 2) - 1);
  offset = corner * reach;
  vec2 px = K.xy * p.xy / p.z + K.zw + offset.x * sqrt(long_) * axis + offset.y * sqrt(short_) * vec2(-axis.y, axis.x);
  splat = vec4(color.rgb, opacity);
  gl_Position = vec4(2.0 * px.x / size.x - 1.0, 1.0 - 2.0 * px.y / size.y, 0.0, 1.0);
}`;

const SPLAT_FRAGMENT = `#version 300 es
precision highp float;
in vec4 splat;
in vec2 offset;
out vec4 color;
void main() {
  float alpha = min(0.999, splat.a * exp(-0.5 * dot(offset, offset)));
  if (alpha < ${1 / 255}) discard;
  color = vec4(splat.rgb * alpha, alpha);
}`;

const PRESENT_PASS = `#version 300 es
precision highp float;
uniform sampler2D picture;
uniform vec3 background;
uniform vec2 scale;
uniform bool transparent;
out vec4 color;
void main() {
  vec4 drawn = texture(picture, gl_FragCoord.xy * scale);
  if (transparent) color = vec4(min(drawn.rgb, drawn.a), drawn.a);
  else color = vec4(drawn.rgb + (1.0 - drawn.a) * background, 1.0);
}`;
