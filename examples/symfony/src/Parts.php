<?php

namespace App;

use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\HttpFoundation\Response;
use Symfony\Component\HttpKernel\Exception\NotFoundHttpException;
use Twig\Environment;

/**
 * The parts of pages. Templates name them by render_esi or render_ssi; they have no routes, but signed addresses below /_fragment.
 * A group in Cache-Groups (RFC 9875) is the name by which the answer to a POST takes a part out of the gateway's store.
 */
final class Parts
{
    private const PERSONAL = 'private, no-cache';

    private Environment $twig;
    private Shop $shop;

    public function __construct(Environment $twig, Shop $shop)
    {
        $this->twig = $twig;
        $this->shop = $shop;
    }

    public function greeting(Request $request): Response
    {
        return $this->part('greeting', ['member' => $this->member($request)], self::PERSONAL);
    }

    public function basket(Request $request): Response
    {
        $member = $this->member($request);
        $books = array_map([$this->shop, 'book'], $member['basket'] ?? []);

        return $this->part('basket', ['member' => $member, 'books' => $books], self::PERSONAL);
    }

    /** For one member, but made of cards that are for all: a part with parts. */
    public function recommendations(Request $request, string $book = '', int $at_most = 3): Response
    {
        $member = $this->member($request);
        $books = \array_slice($this->shop->recommended($member, $this->shop->book($book)), 0, $at_most);

        return $this->part('recommendations', ['member' => $member, 'books' => $books], self::PERSONAL);
    }

    public function card(string $book): Response
    {
        return $this->part('card', ['book' => $this->known($book)], 'public, max-age=600');
    }

    public function top(): Response
    {
        return $this->part('top', ['books' => $this->shop->top()], 'public, max-age=60', 'sales');
    }

    public function talk(): Response
    {
        return $this->part('talk', ['talk' => $this->shop->talk()], 'public, max-age=60', 'reviews');
    }

    public function reviews(string $book): Response
    {
        $reviews = $this->known($book)['reviews'];

        return $this->part('reviews', ['reviews' => $reviews], 'public, max-age=600', "reviews-$book");
    }

    private function member(Request $request): ?array
    {
        return $this->shop->member($request->cookies->get(Forms::COOKIE));
    }

    private function known(string $book): array
    {
        return $this->shop->book($book) ?? throw new NotFoundHttpException();
    }

    private function part(string $name, array $values, string $control, string ...$groups): Response
    {
        $response = new Response($this->twig->render("$name.html.twig", $values), 200, ['Cache-Control' => $control]);
        if ($groups) {
            $response->headers->set('Cache-Groups', '"'.implode('", "', $groups).'"');
        }

        return $response;
    }
}
