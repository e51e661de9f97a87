"""The functions of gsplat 1.5 that the CUDA backend calls, in plain PyTorch, with its names and shapes."""

import math

import torch
from torch import Tensor

from gags.capture.camera import Camera
from gags.render.reference import project, sh_colors


class GsplatTwin:
    """Stands in for the module `gsplat`; every Gaussian is tried at every pixel, tiles are left out."""

    def fully_fused_projection(
        self, *, means, covars, quats, scales, viewmats, Ks, width, height, eps2d, near_plane, opacities
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        assert covars is None
        assert (eps2d, near_plane) == (0.3, 0.01)
        camera = Camera(viewmats[0].double().numpy(), Ks[0].double().numpy(), width, height)
        means2d, covariances, depths = project(means, quats, scales, camera, None)
        inverse = torch.linalg.inv(covariances)
        conics = torch.stack([inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]], 1)
        with torch.no_grad():
            reach = (2 * (opacities / (1 / 255)).log()).clamp_min(0).sqrt()
            radii = (reach[:, None] * covariances.diagonal(dim1=1, dim2=2).sqrt()).ceil()
            size = torch.tensor([width, height])
            shown = ((means2d + radii > 0) & (means2d - radii < size)).all(1) & (depths >= near_plane)
            radii = torch.where(shown[:, None], radii, 0).int()
        return radii[None], means2d[None], depths[None], conics[None], None

    def isect_tiles(
        self, means2d, radii, depths, tile_size, tile_width, tile_height
    ) -> tuple[None, Tensor, Tensor]:
        shown = (radii[0] > 0).all(1).nonzero()[:, 0]
        order = shown[torch.argsort(depths[0, shown], stable=True)]
        return None, torch.zeros(len(order), dtype=torch.int64), order

    def isect_offset_encode(self, isect_ids, n_images, tile_width, tile_height) -> Tensor:
        return torch.zeros(n_images, tile_height, tile_width, dtype=torch.int32)

    def spherical_harmonics(self, degree, dirs, coeffs, masks) -> Tensor:
        small = 1e-3  # so that the offset of ½ keeps them all above 0
        colors = (sh_colors(small * coeffs, dirs, degree) - 0.5) / small
        return torch.where(masks[:, None], colors, 0.0)

    def _weights(self, means2d, conics, opacities, width, height, order, lit) -> Tensor:
        """αT of each Gaussian, in order, at each pixel; none where `lit` is false. [H·W, M]"""
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        pixels = torch.stack([x, y], -1).reshape(-1, 1, 2) + 0.5
        dx, dy = (pixels - means2d[0, order]).unbind(-1)
        a, b, c = conics[0, order].unbind(-1)
        alphas = opacities[0, order] * torch.exp(-0.5 * (a * dx**2 + c * dy**2) - b * dx * dy)
        alphas = torch.where(alphas >= 1 / 255, alphas.clamp_max(0.999), 0.0)
        behind = torch.cumprod(1 - alphas, 1)
        before = torch.cat([torch.ones_like(behind[:, :1]), behind], 1)[:, : len(order)]
        return torch.where((behind > 1e-4) & lit[:, None], alphas * before, 0.0)

    def rasterize_to_pixels(
        self, *, means2d, conics, colors, opacities, image_width, image_height, tile_size,
        isect_offsets, flatten_ids, backgrounds,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        assert isect_offsets.shape == (1, -(-image_height // tile_size), -(-image_width // tile_size))
        lit = torch.ones(image_height * image_width, dtype=torch.bool)
        weights = self._weights(
            means2d, conics, opacities, image_width, image_height, flatten_ids, lit
        )  # fmt: skip
        alphas = weights.sum(1, keepdim=True)
        image = weights @ colors[0, flatten_ids]
        if backgrounds is not None:
            image = image + (1 - alphas) * backgrounds
        shape = (1, image_height, image_width, -1)
        return image.reshape(shape), alphas.reshape(shape)

    def rasterize_to_indices_in_range(
        self, *, range_start, range_end, transmittances, means2d, conics, opacities, image_width,
        image_height, tile_size, isect_offsets, flatten_ids,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        assert range_start == 0
        assert range_end * tile_size**2 > math.prod(means2d.shape)
        lit = transmittances.reshape(-1) > 0
        weights = self._weights(means2d, conics, opacities, image_width, image_height, flatten_ids, lit)
        pixels, places = weights.nonzero(as_tuple=True)
        return flatten_ids[places], pixels, torch.zeros_like(pixels)
