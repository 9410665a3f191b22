# -*- test-case-name: tests.plugins.test_access -*-
"""
The makers of the built-in filters that say who may come in, see L{wsrelay.filters}.

This is imported to list what there is; what a filter needs is imported when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from wsrelay.interfaces import IPluginMaker, IRelay, Options

if TYPE_CHECKING:
    from wsrelay.filters.basicauth import BasicAuthOptions
    from wsrelay.filters.bearer import BearerOptions
    from wsrelay.filters.forwardauth import ForwardAuthOptions
    from wsrelay.filters.networks import NetworksOptions
    from wsrelay.filters.origin import OriginOptions

__all__ = ["BasicAuth", "ForwardAuth", "Jwt", "Networks", "Origins"]


@implementer(IPluginMaker)
class Networks:
    """Makes what lets clients in by their address."""

    name = "networks"
    description = "Lets clients in by the network they come from."

    @property
    def options(self) -> type[Options]:
        """See L{NetworksOptions<wsrelay.filters.networks.NetworksOptions>}."""
        from wsrelay.filters.networks import NetworksOptions

        return NetworksOptions

    def make(self, options: NetworksOptions, relay: IRelay) -> Any:
        """A request filter for routes, or a policy for listeners."""
        from wsrelay.filters.networks import NetworkFilter, NetworkPolicy

        return NetworkFilter(options) if options.apply == "routes" else NetworkPolicy(options)


@implementer(IPluginMaker)
class BasicAuth:
    """Makes what asks for passwords."""

    name = "basic-auth"
    description = "Lets people in by name and password."

    @property
    def options(self) -> type[Options]:
        """See L{BasicAuthOptions<wsrelay.filters.basicauth.BasicAuthOptions>}."""
        from wsrelay.filters.basicauth import BasicAuthOptions

        return BasicAuthOptions

    def make(self, options: BasicAuthOptions, relay: IRelay) -> Any:
        """The filter; without users that can be read the relay does not start."""
        from wsrelay.filters.basicauth import BasicAuthFilter

        return BasicAuthFilter(options, relay)


@implementer(IPluginMaker)
class Jwt:
    """Makes what looks at tokens."""

    name = "jwt"
    description = "Lets in who has a signed token (JWT)."

    @property
    def options(self) -> type[Options]:
        """See L{BearerOptions<wsrelay.filters.bearer.BearerOptions>}."""
        from wsrelay.filters.bearer import BearerOptions

        return BearerOptions

    def make(self, options: BearerOptions, relay: IRelay) -> Any:
        """The filter; nobody is asked for keys before a token comes."""
        from wsrelay.filters.bearer import BearerFilter

        return BearerFilter(options, relay)


@implementer(IPluginMaker)
class ForwardAuth:
    """Makes what asks a service."""

    name = "forward-auth"
    description = "Lets in whom an HTTP service lets in."

    @property
    def options(self) -> type[Options]:
        """See L{ForwardAuthOptions<wsrelay.filters.forwardauth.ForwardAuthOptions>}."""
        from wsrelay.filters.forwardauth import ForwardAuthOptions

        return ForwardAuthOptions

    def make(self, options: ForwardAuthOptions, relay: IRelay) -> Any:
        """The filter; nobody is asked before a request comes."""
        from wsrelay.filters.forwardauth import ForwardAuthFilter

        return ForwardAuthFilter(options, relay)


@implementer(IPluginMaker)
class Origins:
    """Makes what looks at pages' origins."""

    name = "origin"
    description = "Lets WebSockets be opened only by the pages that may."

    @property
    def options(self) -> type[Options]:
        """See L{OriginOptions<wsrelay.filters.origin.OriginOptions>}."""
        from wsrelay.filters.origin import OriginOptions

        return OriginOptions

    def make(self, options: OriginOptions, relay: IRelay) -> Any:
        """The filter."""
        from wsrelay.filters.origin import OriginFilter

        return OriginFilter(options)


networks = Networks()
basicAuth = BasicAuth()
jwt = Jwt()
forwardAuth = ForwardAuth()
origin = Origins()
