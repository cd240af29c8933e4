<?php

namespace App;

use Symfony\Component\EventDispatcher\EventSubscriberInterface;
use Symfony\Component\HttpKernel\Event\RequestEvent;
use Symfony\Component\HttpKernel\Event\ResponseEvent;
use Symfony\Component\HttpKernel\KernelEvents;

/**
 * Two things that Symfony leaves to the application, and that matter as soon as a cache stands in between.
 *
 * Vary. render_esi writes a tag when the request has Surrogate-Capability, and renders in place when it has not, but Symfony says
 * nothing of it in the answer. A cache in between would keep one form under the address of both: people would see tags, or, worse,
 * the page that was rendered in place for somebody else.
 *
 * Cache-Control. A page may be public as long as its parts are tags. In place, the parts of one member are in it.
 */
final class ForSurrogates implements EventSubscriberInterface
{
    public static function getSubscribedEvents(): array
    {
        // After Symfony's own listener, which adds Surrogate-Control where a tag was written.
        return [KernelEvents::REQUEST => ['onRequest', 100], KernelEvents::RESPONSE => ['onResponse', -100]];
    }

    private bool $inPlace = false;

    public function onRequest(RequestEvent $event): void
    {
        // Each part in place is a request of its own within the page's.
        $this->inPlace = !$event->isMainRequest();
    }

    public function onResponse(ResponseEvent $event): void
    {
        $response = $event->getResponse();
        if (!$event->isMainRequest() || !$response->isOk()) {
            return;
        }
        $response->setVary('Surrogate-Capability', false);
        if ($this->inPlace) {
            $response->headers->set('Cache-Control', 'private, no-cache');
        }
    }
}
