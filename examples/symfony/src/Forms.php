<?php

namespace App;

use Symfony\Component\HttpFoundation\Cookie;
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\HttpFoundation\Response;
use Symfony\Component\HttpKernel\Exception\AccessDeniedHttpException;
use Symfony\Component\HttpKernel\Exception\BadRequestHttpException;

/** What changes the shop: by POST, and for members, but for the way in. Each leads back to a page. */
final class Forms
{
    public const COOKIE = 'member';

    private Shop $shop;

    public function __construct(Shop $shop)
    {
        $this->shop = $shop;
    }

    public function login(Request $request): Response
    {
        $name = (string) $request->request->get('name');
        if (!preg_match(Shop::NAME, $name)) {
            throw new BadRequestHttpException();
        }
        $this->shop->join($name);
        $response = $this->leadTo('/');
        $response->headers->setCookie(Cookie::create(self::COOKIE, $this->shop->ticket($name)));

        return $response;
    }

    public function logout(): Response
    {
        $response = $this->leadTo('/');
        $response->headers->clearCookie(self::COOKIE);

        return $response;
    }

    /** A book into the basket. Baskets are never stored by anybody, so nothing is stale. */
    public function basket(Request $request): Response
    {
        $book = $this->book($request);
        $this->shop->put($this->member($request), $book);

        return $this->leadTo("/books/$book");
    }

    /** Buys the basket: the best sellers change for everybody. */
    public function order(Request $request): Response
    {
        $this->shop->order($this->member($request));

        return $this->leadTo('/', 'sales');
    }

    public function reviews(Request $request): Response
    {
        $book = $this->book($request);
        $text = trim((string) $request->request->get('text'));
        if ('' === $text || mb_strlen($text) > 1000) {
            throw new BadRequestHttpException();
        }
        $this->shop->review($this->member($request), $book, $text);

        return $this->leadTo("/books/$book", 'reviews', "reviews-$book");
    }

    private function member(Request $request): string
    {
        $member = $this->shop->member($request->cookies->get(self::COOKIE)) ?? throw new AccessDeniedHttpException();

        return $member['name'];
    }

    private function book(Request $request): string
    {
        $book = $this->shop->book((string) $request->request->get('book')) ?? throw new BadRequestHttpException();

        return $book['id'];
    }

    /** The groups of parts that are stale leave the gateway's store before whoever sent this reads on (RFC 9875). */
    private function leadTo(string $path, string ...$stale): Response
    {
        $response = new Response('', 303, ['Location' => $path, 'Cache-Control' => 'no-store']);
        if ($stale) {
            $response->headers->set('Cache-Group-Invalidation', '"'.implode('", "', $stale).'"');
        }

        return $response;
    }
}
